//! The outcome of an attempt from the receiver's answer: delivered, retried or given up. Pure: time and random numbers are arguments.

use std::time::{Duration, SystemTime};

use super::client::WebhookError;
use crate::{
    clock::milliseconds,
    store::{Attempt, DeliveryOutcome, DueDelivery},
};

/// The first and the highest limit of the wait, doubled with each attempt. People wait for a receiver that is back, and one attempt in two
/// minutes harms nobody.
const BACKOFF: (Duration, Duration) = (Duration::from_secs(2), Duration::from_mins(2));

/// The same after a timeout: the receiver may have accepted the message and would get it again.
const TIMEOUT_BACKOFF: (Duration, Duration) = (Duration::from_mins(1), Duration::from_mins(10));

/// The outcome of an attempt that ended at `now_ms` with this answer. `random` is in [0, 1).
pub(super) fn conclude(
    due: &DueDelivery,
    answer: &Result<u16, WebhookError>,
    now_ms: i64,
    give_up_after: Duration,
    random: f64,
) -> Attempt {
    let outcome = match answer {
        Ok(_) => DeliveryOutcome::Delivered,
        Err(WebhookError::Gone) => DeliveryOutcome::Dead,
        Err(_) if now_ms - due.created_at_ms >= milliseconds(give_up_after) => {
            DeliveryOutcome::Dead
        }
        Err(error) => {
            let wait = wait(due.attempts, error, system_time(now_ms), random);
            DeliveryOutcome::Retry {
                at_ms: now_ms + milliseconds(wait),
            }
        }
    };
    let error = answer.as_ref().err();
    Attempt {
        outcome,
        at_ms: now_ms,
        http_status: answer
            .as_ref()
            .map_or_else(WebhookError::status, |status| Some(*status)),
        error: error.map(ToString::to_string),
        in_doubt: due.in_doubt || error.is_some_and(WebhookError::may_have_arrived),
    }
}

/// The wait after a failed attempt with `earlier` failed ones before it.
pub(super) fn wait(earlier: u32, error: &WebhookError, now: SystemTime, random: f64) -> Duration {
    match error {
        WebhookError::Gone | WebhookError::Unreachable { .. } | WebhookError::Template { .. } => {
            backoff(BACKOFF, earlier, random)
        }
        WebhookError::NoAnswer { .. } => backoff(TIMEOUT_BACKOFF, earlier, 0.5 + random / 2.0),
        WebhookError::Refused { retry_after, .. } => {
            let asked = retry_after.map_or(Duration::ZERO, |asked| asked.delay(now));
            backoff(BACKOFF, earlier, random).max(asked)
        }
    }
}

/// Anywhere up to a limit that doubles ("full jitter"), so that deliveries that failed together are not retried together.
fn backoff((first, highest): (Duration, Duration), earlier: u32, random: f64) -> Duration {
    let doubled = 2_u32
        .checked_pow(earlier)
        .and_then(|factor| first.checked_mul(factor));
    doubled
        .map_or(highest, |limit| limit.min(highest))
        .mul_f64(random)
}

fn system_time(now_ms: i64) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_millis(u64::try_from(now_ms).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        alerts::Subject,
        notify::{client::RetryAfter, json::tests::of_monitor},
        store::Content,
    };

    const NOW_MS: i64 = 1_752_328_800_000;
    const DAY: Duration = Duration::from_hours(24);

    fn due(attempts: u32, created_at_ms: i64) -> DueDelivery {
        DueDelivery {
            id: 1,
            attempts,
            created_at_ms,
            in_doubt: false,
            content: Content::Alert(Box::new(of_monitor(Subject::IngestDown, ""))),
        }
    }

    fn refused(retry_after: Option<RetryAfter>) -> Result<u16, WebhookError> {
        Err(WebhookError::Refused {
            status: 503,
            retry_after,
            words: String::new(),
        })
    }

    fn unreachable(connected: bool) -> Result<u16, WebhookError> {
        let reason = "connection refused".to_owned();
        Err(WebhookError::Unreachable { reason, connected })
    }

    fn outcome(
        due: &DueDelivery,
        answer: &Result<u16, WebhookError>,
        random: f64,
    ) -> DeliveryOutcome {
        conclude(due, answer, NOW_MS, DAY, random).outcome
    }

    #[test]
    fn the_wait_limit_doubles_up_to_the_highest() {
        let limits = |of| {
            let seconds = |earlier| backoff(of, earlier, 1.0).as_secs();
            (0..8).map(seconds).collect::<Vec<_>>()
        };
        assert_eq!(limits(BACKOFF), [2, 4, 8, 16, 32, 64, 120, 120]);
        assert_eq!(
            limits(TIMEOUT_BACKOFF),
            [60, 120, 240, 480, 600, 600, 600, 600]
        );
        assert_eq!(backoff(BACKOFF, u32::MAX, 1.0), BACKOFF.1);
    }

    #[test]
    fn the_wait_is_anywhere_up_to_the_limit() {
        assert_eq!(backoff(BACKOFF, 3, 0.0), Duration::ZERO);
        assert_eq!(backoff(BACKOFF, 3, 0.25), Duration::from_secs(4));
    }

    #[test]
    fn the_longer_of_both_waits_applies() {
        let asked = refused(Some(RetryAfter::Delay(Duration::from_secs(5))));
        assert_eq!(
            outcome(&due(0, NOW_MS), &asked, 0.9),
            DeliveryOutcome::Retry {
                at_ms: NOW_MS + 5_000
            }
        );
        assert_eq!(
            outcome(&due(3, NOW_MS), &asked, 0.5),
            DeliveryOutcome::Retry {
                at_ms: NOW_MS + 8_000
            }
        );
        let date = refused(Some(RetryAfter::At(system_time(NOW_MS + 60_000))));
        assert_eq!(
            outcome(&due(0, NOW_MS), &date, 0.9),
            DeliveryOutcome::Retry {
                at_ms: NOW_MS + 60_000
            }
        );
    }

    #[test]
    fn failures_are_retried_until_the_deadline() {
        let unreachable = unreachable(false);
        for answer in [refused(None), unreachable] {
            let young = due(9, NOW_MS - 86_399_999);
            assert_eq!(
                outcome(&young, &answer, 0.5),
                DeliveryOutcome::Retry {
                    at_ms: NOW_MS + 60_000
                }
            );
            assert_eq!(
                outcome(&due(9, NOW_MS - 86_400_000), &answer, 0.5),
                DeliveryOutcome::Dead
            );
        }
    }

    #[test]
    fn success_and_gone_ignore_the_deadline() {
        assert_eq!(
            outcome(&due(9, 0), &Ok(204), 0.5),
            DeliveryOutcome::Delivered
        );
        assert_eq!(
            outcome(&due(0, NOW_MS), &Err(WebhookError::Gone), 0.5),
            DeliveryOutcome::Dead
        );
    }

    #[test]
    fn an_attempt_keeps_the_status_and_the_reason() {
        let kept = |answer| {
            let attempt = conclude(&due(0, NOW_MS), &answer, NOW_MS, DAY, 0.5);
            (attempt.at_ms, attempt.http_status, attempt.error)
        };
        assert_eq!(kept(Ok(202)), (NOW_MS, Some(202), None));
        assert_eq!(
            kept(refused(None)),
            (
                NOW_MS,
                Some(503),
                Some("the receiver answered 503".to_owned())
            )
        );
    }

    #[test]
    fn a_timeout_is_followed_by_longer_waits() {
        let silent = WebhookError::NoAnswer {
            limit: Duration::from_secs(10),
        };
        let limits: Vec<_> = (0..5)
            .map(|earlier| wait(earlier, &silent, system_time(0), 0.0).as_secs())
            .collect();
        assert_eq!(limits, [30, 60, 120, 240, 300]);
    }

    #[test]
    fn only_an_attempt_without_an_answer_is_in_doubt() {
        let in_doubt = |answer| conclude(&due(0, NOW_MS), &answer, NOW_MS, DAY, 0.5).in_doubt;
        assert!(!in_doubt(refused(None)) && !in_doubt(unreachable(false)));
        assert!(in_doubt(unreachable(true)));
        let earlier = DueDelivery {
            in_doubt: true,
            ..due(1, NOW_MS)
        };
        assert!(conclude(&earlier, &refused(None), NOW_MS, DAY, 0.5).in_doubt);
    }
}
