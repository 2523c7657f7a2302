async fn empty() {
    corymb::select! {}
}

async fn only_biased() {
    corymb::select! { biased }
}

fn main() {}
