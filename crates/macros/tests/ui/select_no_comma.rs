async fn between_branches() -> i32 {
    corymb::select! {
        n = std::future::ready(1) => n
        m = std::future::ready(2) => m
    }
}

async fn after_biased() {
    corymb::select! {
        biased;
        n = std::future::ready(1) => drop(n),
    }
}

fn main() {}
