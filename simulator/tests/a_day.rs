//! A cluster in one thread from one seed replays.

use simulator::{
    cluster::{Options, play},
    scenarios,
};

/// Fewer hours than `binnacle simulate` plays: this is the slow build.
const HOURS: u32 = 2;

fn play_it(seed: u64) -> (Vec<String>, simulator::cluster::Figures) {
    play(Options::seed(seed), async |cluster| {
        let figures = scenarios::rolling_update_every_hour(cluster, HOURS).await?;
        Ok((cluster.log(), figures))
    })
    .unwrap_or_else(|error| panic!("seed {seed}: {error:#}"))
}

#[test]
fn a_seed_replays_to_the_byte_and_another_seed_does_not() {
    let (first_log, first) = play_it(7);
    let (second_log, second) = play_it(7);
    for (one, two) in first_log.iter().zip(&second_log) {
        assert_eq!(one, two, "the first change in which two runs of one seed differ");
    }
    assert_eq!(first, second);
    let (_, other) = play_it(8);
    assert_ne!(first.digest, other.digest);
}
