async fn a_pattern_alone() {
    corymb::select! {
        complete => {}
    }
}

async fn a_future_alone() {
    corymb::select! {
        ready(1) => {}
    }
}

fn main() {}
