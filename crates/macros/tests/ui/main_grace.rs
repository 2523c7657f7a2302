mod no_unit {
    #[corymb_macros::main(grace = "2")]
    async fn main() {}
}

mod not_a_number {
    #[corymb_macros::main(grace = "a while")]
    async fn main() {}
}

mod fraction {
    #[corymb_macros::main(grace = "1.5s")]
    async fn main() {}
}

mod too_long {
    #[corymb_macros::main(grace = "18446744073709551615min")]
    async fn main() {}
}

mod number {
    #[corymb_macros::main(grace = 2)]
    async fn main() {}
}

mod signals {
    #[corymb_macros::main(signals)]
    async fn main() {}
}

fn main() {}
