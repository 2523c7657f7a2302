async fn after_the_future() {
    corymb::select! {
        n = std::future::ready(1),
        m = std::future::ready(2) => drop(m),
    }
}

async fn after_the_guard() {
    corymb::select! {
        n = std::future::ready(1), if true { drop(n) }
    }
}

async fn after_a_call() {
    corymb::select! {
        n = std::future::ready(1) { drop(n) }
    }
}

async fn no_body() {
    corymb::select! {
        n = std::future::ready(1) =>,
    }
}

fn main() {}
