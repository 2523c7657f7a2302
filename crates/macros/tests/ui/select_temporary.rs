async fn length(text: &str) -> usize {
    text.len()
}

async fn borrows_from_a_temporary(n: u32) {
    corymb::select! {
        n = length(&n.to_string()) => drop(n),
    }
}

async fn borrows_twice() {
    let mut text = String::new();
    corymb::select! {
        () = async { text.push('a') } => {}
        () = async { text.push('b') } => {}
    }
}

fn main() {}
