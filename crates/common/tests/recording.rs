//! `record_process` records a whole process, so this test has a binary of its own.

use std::thread;

use common::testing::record_process;

#[test]
fn spans_and_records_of_every_thread_are_recorded() {
    let recorded = record_process();
    let work = || tracing::info_span!("elsewhere").in_scope(|| tracing::warn!("recorded"));
    thread::spawn(work)
        .join()
        .expect("the thread does not panic");
    let span = recorded.span("elsewhere").span_context;
    let logs = record_process().logs();
    assert_eq!(logs.len(), 1);
    assert_eq!(logs[0]["trace_id"], span.trace_id().to_string());
}
