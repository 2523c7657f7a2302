async fn not_last() {
    corymb::select! {
        else => {}
        n = std::future::ready(1) => drop(n),
    }
}

async fn twice() {
    corymb::select! {
        n = std::future::ready(1) => drop(n),
        else => {}
        else => {}
    }
}

fn main() {}
