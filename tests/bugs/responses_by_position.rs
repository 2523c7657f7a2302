//! Answers are taken for those to the questions in the order in which these were asked.

use std::sync::Arc;

use corymb::prelude::*;
use corymb::sync::{Mutex, channel};

pub(crate) async fn run(fixed: bool) {
    let (answer, answers) = channel::unbounded();
    let table = Arc::new(Mutex::new([3, 1, 4, 1, 5]));
    scope(async |s| {
        let questions = [2, 0, 4];
        for question in questions {
            let (answer, table) = (answer.clone(), Arc::clone(&table));
            s.launch(async move {
                let found = table.lock().await[question];
                let _ = answer.send((question, found)).await;
            });
        }
        for asked in questions {
            let (question, found) = answers.recv().await.expect("each is answered");
            let asked = if fixed { question } else { asked };
            let right = table.lock().await[asked];
            assert_eq!(found, right, "the answer to another question");
        }
    })
    .await;
}
