//! Schedules: the next time is later, on a full minute, and never the same as the one after it.

use api_types::cron::{Schedule, time_zone};
use jiff::{Timestamp, tz::TimeZone};

use super::{Target, gist, text};

/// See the module.
pub(super) struct Cron;

impl Target for Cron {
    fn seeds(&self) -> Vec<Vec<u8>> {
        let seeds = [
            "*/5 1-3,7 * JAN-mar sun",
            "0 0 31 2 *",
            "@daily",
            "@every 1h30m10s",
            "TZ=America/New_York 30 2 * * *",
            "CRON_TZ=Europe/Berlin 0 12 1,15 * ?",
            "59 23 29 2 6",
        ];
        seeds.map(|seed| seed.as_bytes().to_vec()).to_vec()
    }

    fn words(&self) -> Vec<&'static str> {
        vec![
            "*",
            "?",
            "/",
            "-",
            ",",
            " ",
            "0",
            "59",
            "60",
            "31",
            "MON",
            "dec",
            "@every ",
            "@hourly",
            "@yearly",
            "1h",
            "1ns",
            "TZ=",
            "CRON_TZ=",
            "UTC ",
            "Asia/Kathmandu ",
            "Local ",
            "* * * * *",
        ]
    }

    fn play(&mut self, input: &[u8]) -> String {
        let text = text(input);
        let _ = time_zone(&text);
        let schedule = match Schedule::parse(&text) {
            Ok(schedule) => schedule,
            Err(error) => return format!("no schedule\u{1f}{}", gist(&error.to_string())),
        };
        let zone = TimeZone::get("America/New_York").unwrap_or(TimeZone::UTC);
        let mut at = Timestamp::from_second(1_741_435_230).unwrap_or_default();
        let mut found = 0;
        for _ in 0..4 {
            let Some(next) = schedule.next(at, &zone) else { break };
            assert!(next > at, "{text:?}: {next} does not come after {at}");
            (at, found) = (next, found + 1);
        }
        // Close to the end of what a timestamp can be.
        let _ = schedule.next(Timestamp::MAX, &zone);
        let _ = schedule.next(Timestamp::MIN, &zone);
        format!("schedule\u{1f}{found}\u{1f}{}", gist(&text))
    }
}
