//! The command as a whole on a made history: table, formats, exit codes, the page.

mod page;

use std::fmt::Write as _;
use std::path::PathBuf;

use clap::{Args as _, Command, FromArgMatches as _};
use serde_json::Value;
use tempfile::TempDir;

use super::*;

/// A day of usual minutes of a stream: a burst of denials at 16:40, and one that nobody labelled at 20:00.
fn history(stream: &str) -> String {
    let mut csv = String::from("timestamp,status,count,stream\n");
    for at in 0..1440 {
        let denied = match at {
            1000..1020 | 1200..1203 => 80,
            _ => 5 + at % 3,
        };
        for (status, count) in [("approved", 114 + at % 7), ("denied", denied)] {
            let (hour, minute) = (at / 60, at % 60);
            writeln!(
                csv,
                "2025-09-01 {hour:02}:{minute:02},{status},{count},{stream}"
            )
            .unwrap();
        }
    }
    csv
}

const LABELS: &str = "start,end,kind,stream,alert
2025-09-01 16:40,2025-09-01 17:00,<script>alert(1)</script>,shop,yes
2025-09-01 20:00,2025-09-01 20:10,sale,shop,no
2025-09-01 18:30,2025-09-01 18:40,a_small_one,,yes
2025-09-02 18:30,2025-09-02 18:40,elsewhere,,yes
2025-09-01 18:30,2025-09-01 18:40,elsewhere,other,yes
";

struct Files {
    folder: TempDir,
}

impl Files {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("history.csv"), history("shop")).unwrap();
        std::fs::write(folder.path().join("labels.csv"), LABELS).unwrap();
        Self { folder }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// The result of the flags beside `--file`; paths begin with `@`.
    fn run(&self, flags: &[&str]) -> anyhow::Result<(bool, String)> {
        let folder = self.folder.path().display().to_string() + "/";
        let flags = flags.iter().map(|flag| flag.replace('@', &folder));
        let args = [
            "backtest".to_owned(),
            "--file".to_owned(),
            folder.clone() + "history.csv",
        ];
        let command = Options::augment_args(Command::new("backtest"));
        let matches = command.try_get_matches_from(args.into_iter().chain(flags))?;
        let mut out = Vec::new();
        let options = Options::from_arg_matches(&matches)?;
        let met = run(&options, &MonitorSettings::default(), &mut out)?;
        let text = String::from_utf8(out)?;
        Ok((met, text.replace(&folder, "")))
    }

    fn json(&self, flags: &[&str]) -> Value {
        let flags = [&["--format", "json"], flags].concat();
        serde_json::from_str(&self.run(&flags).unwrap().1).unwrap()
    }
}

#[test]
fn the_table_compares_the_policies() {
    let (met, table) = Files::new().run(&["--incidents", "@labels.csv"]).unwrap();
    assert!(met);
    assert_eq!(table, include_str!("tests/table.txt"));
}

#[test]
fn a_sweep_says_what_spares_the_false_alarms() {
    let files = Files::new();
    let advice = |false_alarm: &str| {
        let labels = format!(
            "start,end,kind,alert\n2025-09-01 16:40,2025-09-01 17:00,real,yes\n{false_alarm},false_alarm,no\n"
        );
        std::fs::write(files.path("feedback.csv"), labels).unwrap();
        let flags = [
            "--incidents",
            "@feedback.csv",
            "--policy",
            "zscore",
            "--sweep=4,8",
        ];
        files.run(&flags).unwrap().1
    };
    let alike = advice("2025-09-01 20:00,2025-09-01 20:10");
    assert!(
        alike.contains("none of them spares all false alarms (1)"),
        "{alike}"
    );
    let spared = advice("2025-09-01 21:00,2025-09-01 21:10");
    let expected = "CRITICAL at 4 spares all false alarms (1) and misses no incident";
    assert!(spared.contains(expected), "{spared}");
}

#[test]
fn without_labels_it_says_what_would_be_sent() {
    let (_, table) = Files::new()
        .run(&["--policy", "adaptive", "--sweep=4,80"])
        .unwrap();
    assert_eq!(table, include_str!("tests/unlabelled.txt"));
}

#[test]
fn a_file_is_read_with_the_flags_of_stream_processor() {
    let files = Files::new();
    let plain = files.run(&[]).unwrap().1;
    let other = history("shop").replace("timestamp,status,count,stream", "time;state;f0_;merchant");
    let other = other
        .replace(',', ";")
        .replace("2025-09-01 ", "01/09/2025 ");
    std::fs::write(files.path("history.csv"), other).unwrap();
    let error = files.run(&[]).unwrap_err().to_string();
    let advice = "try --columns timestamp=time,status=state,count=f0_";
    assert!(error.ends_with(advice), "{error}");
    let columns = "--columns=timestamp=time,status=state,count=f0_,stream=merchant";
    let error = files.run(&[columns]).unwrap_err().to_string();
    let advice = "try --time-format \"%d/%m/%Y %H:%M\", if the day comes first";
    assert!(error.contains(advice), "{error}");
    let read = files
        .run(&[columns, "--time-format=%d/%m/%Y %H:%M"])
        .unwrap()
        .1;
    assert_eq!(read, plain);
}

#[test]
fn names_of_statuses_are_those_of_the_service() {
    let files = Files::new();
    let plain = files.run(&[]).unwrap().1;
    let other = history("shop").replace("denied", "declined");
    std::fs::write(files.path("history.csv"), other).unwrap();
    let command = Options::augment_args(Command::new("backtest"));
    let args = [
        "backtest".into(),
        "--file".into(),
        files.path("history.csv").into_os_string(),
    ];
    let matches = command.try_get_matches_from(args).unwrap();
    let mut options = Options::from_arg_matches(&matches).unwrap();
    options.aliases = "DECLINED=denied".parse().unwrap();
    let mut out = Vec::new();
    run(&options, &MonitorSettings::default(), &mut out).unwrap();
    let folder = files.folder.path().display().to_string() + "/";
    let text = String::from_utf8(out).unwrap().replace(&folder, "");
    assert_eq!(text, plain);
}

#[test]
fn requirements_decide() {
    let files = Files::new();
    let required = |requirement: &str| {
        let flags = ["--incidents", "@labels.csv", "--require", requirement];
        files.run(&flags)
    };
    assert!(required("recall>=0.5,false_per_day<=1").unwrap().0);
    let (met, table) = required("adaptive.recall>=0.5,recall>0.5").unwrap();
    assert!(!met);
    assert!(
        table.contains("requirement met: adaptive at 5: adaptive.recall>=0.5; it is 0.500\n"),
        "{table}"
    );
    assert!(
        table.contains("requirement NOT MET: zscore at 4: recall>0.5; it is 0.500\n"),
        "{table}"
    );
}

#[test]
fn contradicting_flags_are_refused() {
    let files = Files::new();
    for (flags, fault) in [
        (
            &["--false-per-day", "1"][..],
            "--false-per-day needs --incidents",
        ),
        (&["--require", "recall>=1"], "recall>=1 needs --incidents"),
        (
            &[
                "--require",
                "adaptive.notifications<9",
                "--policy",
                "zscore",
            ],
            "leaves out",
        ),
        (
            &["--from", "2025-09-02 00:00", "--to", "2025-09-01 00:00"],
            "is not before --to",
        ),
        (
            &["--from", "2026-09-02 00:00"],
            "no row is in the chosen time range",
        ),
        (&["--stream", "other"], "has no minute of that stream"),
        (&["--sweep=0.5"], "0.5 is no threshold of adaptive"),
        (
            &["--incidents", "@none.csv"],
            "cannot read the incidents from",
        ),
        (&["--database", "@x"], "cannot be used with"),
        (&["--policy", "median"], "possible values: zscore, adaptive"),
        (&["--false-per-day=-1"], "number of episodes a day"),
        (&["--html", "@none/x.html"], "cannot write the report to"),
    ] {
        let error = format!("{:#}", files.run(flags).unwrap_err());
        assert!(error.contains(fault), "{flags:?}: {error}");
    }
}

#[test]
fn json_holds_report_sweep_and_requirements() {
    let files = Files::new();
    let json = files.json(&[
        "--incidents",
        "@labels.csv",
        "--false-per-day",
        "1",
        "--require",
        "recall>0.9",
        "--stream",
        "shop",
    ]);
    assert_eq!(json["history"]["streams"], serde_json::json!(["shop"]));
    assert_eq!(json["history"]["first"], "2025-09-01T00:00:00Z");
    let labels = &json["labels"];
    assert_eq!(
        (
            &labels["incidents"],
            &labels["harmless"],
            &labels["elsewhere"]
        ),
        (&2.into(), &1.into(), &2.into())
    );
    let adaptive = &json["policies"][1];
    assert_eq!(adaptive["policy"], "adaptive");
    assert_eq!(
        adaptive["score"]["missed"][0]["incident"]["kind"],
        "a_small_one"
    );
    assert_eq!(
        adaptive["sweep"].as_array().map(Vec::len),
        Some(DEFAULT_THRESHOLDS.len())
    );
    assert_eq!(adaptive["sweep"][0]["recall"], 0.5);
    assert!(adaptive["recommended_critical"].is_f64(), "{adaptive}");
    assert_eq!(json["requirements"][0]["met"], false);
}

#[test]
fn csv_has_a_row_for_each_threshold() {
    let flags = [
        "--incidents",
        "@labels.csv",
        "--sweep=4,5",
        "--format",
        "csv",
    ];
    let (_, text) = Files::new().run(&flags).unwrap();
    let rows: Vec<Vec<&str>> = text.lines().map(|line| line.split(',').collect()).collect();
    assert_eq!(rows.len(), 1 + 2 * (1 + 2));
    assert_eq!(
        &rows[0][..7],
        [
            "policy",
            "run",
            "critical",
            "warning",
            "incidents",
            "found",
            "recall"
        ]
    );
    assert_eq!(
        &rows[1][..7],
        ["zscore", "settings", "4", "2.5", "2", "1", "0.5"]
    );
    assert!(rows.iter().all(|row| row.len() == rows[0].len()));
}

#[test]
fn a_stream_without_a_name_takes_the_given_one() {
    let files = Files::new();
    let plain: String = history("x")
        .lines()
        .map(|line| {
            line.trim_end_matches(",x")
                .trim_end_matches(",stream")
                .to_owned()
                + "\n"
        })
        .collect();
    std::fs::write(files.path("history.csv"), plain).unwrap();
    let json = files.json(&["--stream", "named", "--policy", "zscore"]);
    assert_eq!(json["history"]["streams"], serde_json::json!(["named"]));
    assert_eq!(json["policies"][0]["observed_minutes"], 1440);
}

#[test]
fn exit_codes_tell_failures_apart() {
    let files = Files::new();
    let code = |require: &str, file: &str| {
        let args = [
            "backtest",
            "--policy",
            "zscore",
            "--format",
            "csv",
            "--require",
            require,
            "--file",
        ];
        let file = files.path(file).display().to_string();
        let command = Options::augment_args(Command::new("backtest"));
        let matches = command.get_matches_from(args.into_iter().chain([&*file]));
        let options = Options::from_arg_matches(&matches).unwrap();
        command_to(&options, &MonitorSettings::default(), &mut Vec::new())
    };
    let text = |code: ExitCode| format!("{code:?}");
    assert_eq!(
        text(code("notifications>=0", "history.csv")),
        text(ExitCode::SUCCESS)
    );
    assert_eq!(
        text(code("notifications>1000", "history.csv")),
        text(ExitCode::from(1))
    );
    assert_eq!(
        text(code("notifications>=0", "none.csv")),
        text(ExitCode::from(2))
    );
}
