//! What an operation is about, given what there is.

use crate::model::{Model, What as Kinds};
use crate::program::{Act, CLEANUP_BODY, Id, Kind, Op, Order, ROOT, UNIT, Watch, What};

/// So many scopes are open at a time, at most.
const SCOPES: usize = 50;

/// Makes orders of operations.
pub(crate) struct Resolver {
    next: Id,
    /// The number of the operation, which is its value too.
    number: u32,
}

fn pick<T: Copy>(all: &[T], which: u16) -> Option<T> {
    (!all.is_empty()).then(|| all[usize::from(which) % all.len()])
}

impl Resolver {
    pub(crate) fn new() -> Self {
        Self { next: 1, number: 0 }
    }

    fn id(&mut self) -> Id {
        let id = self.next;
        self.next += 1 + CLEANUP_BODY;
        id
    }

    /// None if there is nothing that it could be about.
    pub(crate) fn resolve(&mut self, op: &Op, model: &Model) -> Option<Order> {
        self.number += 1;
        let bodies = bodies(model);
        let by = op.by.and_then(|by| pick(&bodies, by));
        let order = |by, act| Some(Order { by, act });
        let of_body = |which, act| Some(Order { by: Some(pick(&bodies, which)?), act });
        match op.what {
            What::Launch(scope, how) => {
                let mut scopes = scopes(model);
                // Deep trees are more of a test than broad ones.
                if scopes.len() > 1 && scope % 4 > 0 {
                    scopes.retain(|it| *it != ROOT);
                }
                let scope = pick(&scopes, scope / 4)?;
                order(by, Act::Launch { id: self.id(), scope, how })
            }
            What::Open(body, kind, manner) => {
                let body = pick(&bodies, body)?;
                if regions(model, &bodies).len() >= SCOPES {
                    return None;
                }
                let id = self.id();
                order(
                    Some(body),
                    Act::Open { id, kind, until: until(model, body, id, kind), manner },
                )
            }
            What::Return(body) => of_body(body, Act::Return(self.number)),
            What::Fail(body) => of_body(body, Act::Fail(self.number)),
            What::Panic(body) => of_body(body, Act::Panic(self.number)),
            What::Drop(region) => {
                let (body, region) = pick(&regions(model, &bodies), region)?;
                order(Some(body), Act::Drop(region))
            }
            What::Forget(region) => {
                let (body, region) = pick(&regions(model, &bodies), region)?;
                order(Some(body), Act::Forget(region))
            }
            What::DropForgotten(region) => {
                order(None, Act::DropForgotten(pick(&forgotten(model), region)?))
            }
            What::Await(body, child, strict) => {
                let (body, child) = (pick(&bodies, body)?, pick(&kept(model), child)?);
                order(Some(body), Act::Await { id: self.id(), child, strict })
            }
            What::DropHandle(child) => order(by, Act::DropHandle(pick(&kept(model), child)?)),
            What::Cancel(job, custom) => {
                let job = pick(&jobs(model), job)?;
                order(by, Act::Cancel { job, custom: custom.then_some(self.number) })
            }
            What::SetDeadline(scope, at) => {
                let (_, scope) = pick(&cancel_scopes(model, &bodies), scope)?;
                let at = at.map(|units| instant(model, scope, units));
                order(by, Act::SetDeadline { scope, at })
            }
            What::Token(parent) => {
                let parent = pick(&jobs(model), parent).filter(|it| !model.at(*it).ended)?;
                order(None, Act::Token { id: self.id(), parent })
            }
            What::Advance(units) => {
                order(None, Act::Advance((model.now / UNIT + u64::from(units)) * UNIT))
            }
        }
    }
}

/// Whether there is what an order is about.
pub(crate) fn fits(order: &Order, model: &Model) -> bool {
    let bodies = bodies(model);
    if order.by.is_some_and(|body| !bodies.contains(&body)) {
        return false;
    }
    match order.act {
        Act::Launch { scope, .. } => scopes(model).contains(&scope),
        Act::Drop(region) | Act::Forget(region) => {
            order.by.is_some_and(|body| regions(model, &bodies).contains(&(body, region)))
        }
        Act::DropForgotten(region) => forgotten(model).contains(&region),
        Act::Await { child, .. } | Act::DropHandle(child) => kept(model).contains(&child),
        Act::Cancel { job, .. } => jobs(model).contains(&job),
        Act::SetDeadline { scope, .. } => {
            cancel_scopes(model, &bodies).iter().any(|(_, it)| *it == scope)
        }
        Act::Token { parent, .. } => jobs(model).contains(&parent) && !model.at(parent).ended,
        Act::Advance(to) => to > model.now,
        Act::Open { .. } | Act::Return(_) | Act::Fail(_) | Act::Panic(_) => true,
    }
}

/// No two are due at the same time, unless they are in one coroutine.
fn instant(model: &Model, of: Id, units: u8) -> u64 {
    match units {
        0 => model.now,
        _ => (model.now / UNIT + u64::from(units)) * UNIT - UNIT / 2 + of as u64 * 1_000_000,
    }
}

fn until(model: &Model, body: Id, id: Id, kind: Kind) -> Option<u64> {
    match kind {
        Kind::Timeout(units, _) | Kind::Join(_, Some(units)) => Some(instant(model, id, units)),
        Kind::Deadline(units, _) => {
            Some(instant(model, coroutine(model, body).unwrap_or(id), units))
        }
        _ => None,
    }
}

/// The coroutine that a body is in, if no local scope is between them.
fn coroutine(model: &Model, body: Id) -> Option<Id> {
    let node = model.at(body);
    match node.what {
        Kinds::Coroutine | Kinds::Cleanup => Some(body),
        Kinds::Region(kind) if kind != Kind::Local => coroutine(model, node.opener),
        _ => None,
    }
}

fn all(model: &Model) -> impl Iterator<Item = (Id, &crate::model::Node)> {
    model.nodes.iter().enumerate().filter_map(|(id, node)| Some((id, node.as_ref()?)))
}

/// The bodies that will be polled.
pub(crate) fn bodies(model: &Model) -> Vec<Id> {
    let is_polled = |id: &Id| {
        let mut at = *id;
        loop {
            let node = model.at(at);
            match node.what {
                Kinds::Coroutine | Kinds::Cleanup => return node.body.is_some(),
                Kinds::Region(_) if node.is_here => at = node.opener,
                Kinds::Member => at = node.parent,
                _ => return false,
            }
        }
    };
    let has_body = |node: &crate::model::Node| {
        node.body.is_some() && !node.over && node.what != Kinds::Cleanup
    };
    all(model).filter(|(_, node)| has_body(node)).map(|(id, _)| id).filter(is_polled).collect()
}

/// The regions whose futures are there, with the bodies that have them.
fn regions(model: &Model, bodies: &[Id]) -> Vec<(Id, Id)> {
    let branches = bodies.iter().flat_map(|body| {
        let branches = model.at(*body).body.as_ref().map(|it| &it.branches[..]);
        branches.unwrap_or_default().iter().map(|branch| (*body, *branch))
    });
    branches.filter(|(_, it)| matches!(model.at(*it).what, Kinds::Region(_))).collect()
}

fn cancel_scopes(model: &Model, bodies: &[Id]) -> Vec<(Id, Id)> {
    let mut all = regions(model, bodies);
    all.retain(|(_, it)| model.at(*it).what == Kinds::Region(Kind::Cancel) && model.at(*it).made);
    all
}

pub(crate) fn forgotten(model: &Model) -> Vec<Id> {
    all(model).filter(|(_, it)| it.forgotten).map(|(id, _)| id).collect()
}

fn kept(model: &Model) -> Vec<Id> {
    all(model).filter(|(_, it)| it.in_hand).map(|(id, _)| id).collect()
}

/// The scopes that take children, and the one that ended last.
fn scopes(model: &Model) -> Vec<Id> {
    let takes = |what| {
        matches!(
            what,
            Kinds::Root
                | Kinds::Region(
                    Kind::Scope | Kind::Supervisor | Kind::Try | Kind::Local | Kind::Join(..)
                )
        )
    };
    let all: Vec<_> = all(model).filter(|(_, it)| it.made && takes(it.what)).collect();
    let ended = all.iter().rev().find(|(_, it)| it.ended).map(|(id, _)| *id);
    all.iter().filter(|(_, it)| !it.ended).map(|(id, _)| *id).chain(ended).collect()
}

fn jobs(model: &Model) -> Vec<Id> {
    let is_job = |it: &crate::model::Node| it.watch != Watch::Nothing && it.made;
    let all: Vec<_> = all(model).filter(|(_, it)| is_job(it)).collect();
    let ended = all.iter().rev().find(|(_, it)| it.ended).map(|(id, _)| *id);
    all.iter().filter(|(_, it)| !it.ended).map(|(id, _)| *id).chain(ended).collect()
}
