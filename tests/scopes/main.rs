//! Scopes and jobs through the facade, beyond the conformance cases.

mod causes;
#[path = "../conformance/common.rs"]
#[expect(dead_code, reason = "what the conformance cases alone use")]
mod common;
mod deferred;
mod dispatchers;
mod dump;
mod failures;
mod handlers;
mod nesting;
mod races;
