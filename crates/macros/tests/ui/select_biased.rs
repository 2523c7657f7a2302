async fn in_the_middle() {
    corymb::select! {
        n = std::future::ready(1) => drop(n),
        biased,
        m = std::future::ready(2) => drop(m),
    }
}

async fn twice() {
    corymb::select! {
        biased,
        biased,
        m = std::future::ready(2) => drop(m),
    }
}

fn main() {}
