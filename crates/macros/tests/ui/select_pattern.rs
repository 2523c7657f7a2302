async fn a_value_for_a_pattern() {
    corymb::select! {
        n + 1 = std::future::ready(1) => drop(n),
    }
}

fn main() {}
