async fn the_pattern_is_of_another_type() {
    corymb::select! {
        Ok(n) = std::future::ready(1) => drop::<i32>(n),
    }
}

async fn no_future() {
    corymb::select! {
        n = 5 => drop(n),
    }
}

async fn no_condition() {
    corymb::select! {
        n = std::future::ready(1), if 1 => drop(n),
    }
}

async fn bodies_of_two_types() -> i32 {
    corymb::select! {
        n = std::future::ready(1) => n,
        m = std::future::ready("two") => m,
    }
}

fn not_in_async() {
    corymb::select! {
        n = std::future::ready(1) => drop(n),
    }
}

fn main() {}
