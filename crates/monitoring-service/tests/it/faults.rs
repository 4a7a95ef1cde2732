//! Some rounds of the fault campaign with the real program: no kill, outage, full disk or bad client loses, doubles or hides anything.
//! `just faults` does the same for longer, and with a real broker.

use embedded_kafka::EmbeddedKafka;
use faults::{Broker, Campaign, Kind, Report, Size};

use crate::harness::folder;

/// Each kind comes at least once: with this seed, in a round of minutes and in one of transactions.
const ROUNDS: u64 = 2;

/// Not a receiver that hangs, for the service then waits for a minute; and not what needs a privileged user.
const KINDS: [Kind; 11] = [
    Kind::Kill,
    Kind::KillInRecovery,
    Kind::Freeze,
    Kind::Terminate,
    Kind::BrokerCut,
    Kind::BrokerStall,
    Kind::ReceiverRefuse,
    Kind::ReceiverSlow,
    Kind::ReceiverClose,
    Kind::Flood,
    Kind::OffsetGap,
];

#[tokio::test(flavor = "multi_thread")]
async fn injuries_lose_double_and_hide_nothing() {
    let folder = folder();
    let campaign = Campaign {
        service: env!("CARGO_BIN_EXE_monitoring-service").into(),
        broker: Broker::Embedded(EmbeddedKafka::start().await.expect("a broker")),
        seed: 17,
        kinds: KINDS.to_vec(),
        size: Size::QUICK,
        folder: folder.path().to_owned(),
    };
    let mut report = Report::default();
    for round in
        futures_util::future::join_all((0..ROUNDS).map(|round| campaign.round(round))).await
    {
        report.add(round);
    }
    assert!(report.is_clean(), "{report}");
    let missing = KINDS.iter().filter(|kind| report.injured(**kind) == 0);
    assert_eq!(missing.count(), 0, "each kind was tried: {report}");
}
