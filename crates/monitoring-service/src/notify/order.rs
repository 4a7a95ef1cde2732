//! The order of an incident's messages to one receiver. Pure.
//!
//! One is sent at a time, in the order of the events. A resolve supersedes every earlier one that was not delivered. It is itself sent
//! only if the receiver may know of the incident: an attempt without an answer may have arrived, a refused one has not. What is over
//! before the receiver knew of it is summed up.

use crate::{
    alerts::incident::IncidentEventKind,
    store::{DeliveryState, EventDelivery},
};

/// What to do with the pending messages of an incident to one receiver.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Step {
    /// The deliveries that are no longer sent.
    pub(super) superseded: Vec<i64>,
    /// The deliveries of an incident that is over and that the receiver does not know.
    pub(super) summarized: Vec<i64>,
    /// The delivery to send now; the others wait for it.
    pub(super) send: Option<i64>,
}

/// The next step, from all messages of the incident to the receiver in their order. None of them is in flight.
pub(super) fn next(messages: &[EventDelivery]) -> Step {
    let pending = |message: &&EventDelivery| message.state == DeliveryState::Pending;
    let ends =
        |message: &EventDelivery| pending(&message) && message.event == IncidentEventKind::Resolved;
    let end = messages.iter().rposition(ends);
    let (before, rest) = messages.split_at(end.unwrap_or(0));
    let mut superseded: Vec<_> = before
        .iter()
        .filter(pending)
        .map(|message| message.id)
        .collect();
    let mut rest = rest.iter().filter(pending).map(|message| message.id);
    let is_unknown = end.is_some() && !is_open(before);
    if is_unknown {
        superseded.extend(rest.next());
    }
    let send = rest.next();
    if is_unknown && send.is_none() {
        return Step {
            summarized: superseded,
            ..Step::default()
        };
    }
    Step {
        superseded,
        summarized: Vec::new(),
        send,
    }
}

/// True if the receiver may know the incident as open.
fn is_open(messages: &[EventDelivery]) -> bool {
    let mut open = false;
    for message in messages {
        let delivered = message.state == DeliveryState::Delivered;
        match message.event {
            IncidentEventKind::Opened | IncidentEventKind::Escalated => {
                open |= delivered || message.in_doubt;
            }
            IncidentEventKind::Resolved => open &= !delivered,
            IncidentEventKind::Acknowledged => {}
        }
    }
    open
}

#[cfg(test)]
mod tests {
    use IncidentEventKind::{Acknowledged, Escalated, Opened, Resolved};
    use proptest::prelude::*;

    use super::*;

    fn number(at: usize) -> i64 {
        i64::try_from(at).expect("few") + 1
    }

    fn at(number: i64) -> usize {
        usize::try_from(number - 1).expect("from 1")
    }

    fn message(id: i64, event: IncidentEventKind, state: DeliveryState) -> EventDelivery {
        EventDelivery {
            id,
            event,
            state,
            in_doubt: false,
        }
    }

    fn step(messages: &[(IncidentEventKind, DeliveryState)]) -> Step {
        let numbered = |(at, &(event, state)): (usize, &_)| message(number(at), event, state);
        next(
            &messages
                .iter()
                .enumerate()
                .map(numbered)
                .collect::<Vec<_>>(),
        )
    }

    fn then(superseded: &[i64], send: Option<i64>) -> Step {
        Step {
            superseded: superseded.to_vec(),
            summarized: Vec::new(),
            send,
        }
    }

    const PENDING: DeliveryState = DeliveryState::Pending;
    const DELIVERED: DeliveryState = DeliveryState::Delivered;

    #[test]
    fn a_later_message_waits_for_an_earlier_one() {
        assert_eq!(
            step(&[(Opened, PENDING), (Escalated, PENDING)]),
            then(&[], Some(1))
        );
        assert_eq!(
            step(&[(Opened, DELIVERED), (Escalated, PENDING)]),
            then(&[], Some(2))
        );
        assert_eq!(step(&[(Opened, DELIVERED)]), then(&[], None));
    }

    #[test]
    fn a_resolve_supersedes_what_was_not_delivered() {
        let opened = (Opened, DELIVERED);
        assert_eq!(
            step(&[opened, (Escalated, PENDING), (Resolved, PENDING)]),
            then(&[2], Some(3))
        );
    }

    #[test]
    fn a_resolve_without_a_delivered_opening_is_summed_up() {
        for state in [PENDING, DeliveryState::Dead] {
            let step = step(&[(Opened, state), (Resolved, PENDING)]);
            assert_eq!((step.send, step.summarized.last()), (None, Some(&2)));
            assert_eq!(step.superseded, [0; 0]);
        }
    }

    #[test]
    fn an_opening_in_doubt_is_resolved() {
        let opened = EventDelivery {
            in_doubt: true,
            ..message(1, Opened, PENDING)
        };
        let resolved = message(2, Resolved, PENDING);
        assert_eq!(next(&[opened, resolved]), then(&[1], Some(2)));
    }

    #[test]
    fn an_incident_that_reopens_is_sent_in_its_order() {
        let earlier = [(Opened, DELIVERED), (Resolved, PENDING)];
        let both = [earlier[0], earlier[1], (Opened, PENDING)];
        assert_eq!(step(&both), then(&[], Some(2)));
        let known_end = [(Opened, DELIVERED), (Resolved, DELIVERED)];
        let again = [
            known_end[0],
            known_end[1],
            (Opened, PENDING),
            (Resolved, PENDING),
        ];
        let summed_up = Step {
            summarized: vec![3, 4],
            ..Step::default()
        };
        assert_eq!(step(&again), summed_up);
        // It is open again: that message replaces those of its first part.
        let unknown = [(Opened, PENDING), (Resolved, PENDING), (Opened, PENDING)];
        assert_eq!(step(&unknown), then(&[1, 2], Some(3)));
    }

    /// What a receiver did with an attempt.
    #[derive(Clone, Copy, Debug)]
    enum Answer {
        Accepted,
        Refused,
        /// It arrived, and the sender does not know.
        Lost,
        GoneAfterRefusal,
    }

    fn answers() -> impl Strategy<Value = Answer> {
        prop_oneof![
            3 => Just(Answer::Accepted),
            2 => Just(Answer::Refused),
            2 => Just(Answer::Lost),
            1 => Just(Answer::GoneAfterRefusal),
        ]
    }

    proptest! {
        /// Events arrive between attempts; the receiver never sees an end before a beginning, never an earlier message after a later
        /// one, and in the end does not know a resolved incident as open unless its end was given up.
        #[test]
        fn a_receiver_sees_every_incident_in_order(
            answers in prop::collection::vec(answers(), 0..24),
            rounds in prop::collection::vec((0_usize..3, any::<bool>()), 1..4),
            gaps in prop::collection::vec(0_usize..3, 24),
        ) {
            let mut events = Vec::new();
            for (escalations, acknowledged) in rounds {
                events.push(Opened);
                events.extend(std::iter::repeat_n(Escalated, escalations));
                events.extend(acknowledged.then_some(Acknowledged));
                events.push(Resolved);
            }
            let (mut answers, mut gaps) = (answers.into_iter(), gaps.into_iter());
            let mut incoming = events.into_iter();
            let (mut messages, mut seen) = (Vec::<EventDelivery>::new(), Vec::<i64>::new());
            let mut given_up = false;
            loop {
                let new = gaps.next().unwrap_or(usize::MAX);
                for event in incoming.by_ref().take(new) {
                    messages.push(message(number(messages.len()), event, PENDING));
                }
                let step = next(&messages);
                for id in &step.superseded {
                    messages[at(*id)].state = DeliveryState::Superseded;
                }
                for id in &step.summarized {
                    messages[at(*id)].state = DeliveryState::Summarized;
                }
                let Some(id) = step.send else {
                    if incoming.len() == 0 && step.superseded.is_empty() && step.summarized.is_empty() {
                        break;
                    }
                    continue;
                };
                let sent = &mut messages[at(id)];
                let answer = answers.next().unwrap_or(Answer::Accepted);
                if matches!(answer, Answer::Accepted | Answer::Lost) {
                    seen.push(id);
                }
                match answer {
                    Answer::Accepted => sent.state = DELIVERED,
                    Answer::Lost => sent.in_doubt = true,
                    Answer::Refused => {}
                    Answer::GoneAfterRefusal => {
                        sent.state = DeliveryState::Dead;
                        given_up = true;
                    }
                }
            }
            prop_assert!(seen.is_sorted(), "{seen:?}");
            let event = |id: &i64| messages[at(*id)].event;
            let opens = |id: &&i64| matches!(event(id), Opened | Escalated);
            if let Some(end) = seen.iter().position(|id| event(id) == Resolved) {
                prop_assert!(seen[..end].iter().any(|id| opens(&id)), "{messages:?}");
            }
            if !given_up {
                let last = seen.iter().rfind(|id| event(id) != Acknowledged);
                prop_assert!(last.is_none_or(|id| event(id) == Resolved), "{seen:?} {messages:?}");
            }
        }
    }
}
