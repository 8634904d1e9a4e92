use proptest::prelude::*;

use super::*;
use crate::fairness::shuffle;

const ONE: Estimate = Estimate::seats(1);

fn ms(milliseconds: u64) -> Duration {
    Duration::from_millis(milliseconds)
}

fn queued(queues: usize, hand: usize, length: usize, limit: u32) -> QueueSet<u64> {
    QueueSet::new(Duration::ZERO, Discipline::Queue { queues, hand, length }, limit)
}

/// What a set must be after every step, whatever happened.
fn check(set: &QueueSet<u64>) -> Result<(), String> {
    let counted = |served: bool| {
        let of = set.requests().filter(|(_, it)| it.started.is_some() == served);
        of.fold((0, 0), |(count, seats), (_, it)| (count + 1, seats + it.estimate.seats_max()))
    };
    let lingering: u32 = set.lingering.values().map(|it| it.1).sum();
    let (waiting, seats_waiting) = counted(false);
    let (executing, seats) = counted(true);
    let told = (set.waiting, set.seats_waiting, set.executing, set.seats_in_use);
    if told != (waiting, seats_waiting, executing, seats + lingering) {
        return Err(format!("counts {told:?} are wrong: {set:?}"));
    }
    let wide = set.requests().any(|(_, it)| it.started.is_some() && it.estimate.seats_max() > set.limit);
    let exempt = set.discipline == Discipline::Exempt;
    // A limit that went down is not exceeded by new ones, but those who are served stay. Tests that lower it say so.
    if set.seats_in_use > set.limit && !wide && !exempt && lingering == 0 {
        return Err(format!("{} seats of {} are taken", set.seats_in_use, set.limit));
    }
    if set.active != u32::try_from(set.queues.iter().filter(|it| it.is_active()).count()).unwrap() {
        return Err("active queues are counted wrong".to_owned());
    }
    for (index, queue) in set.queues.iter().enumerate() {
        let here = |served: bool| {
            set.requests().filter(move |(_, it)| it.queue == Some(index) && it.started.is_some() == served)
        };
        let work: Work = here(false).map(|(_, it)| it.estimate.work()).sum();
        if here(false).count() != queue.waiting.len() || queue.work_waiting != work {
            return Err(format!("queue {index} does not know who waits in it"));
        }
        if here(true).count() != usize::try_from(queue.executing).unwrap() {
            return Err(format!("queue {index} does not know who is served"));
        }
    }
    // Nobody waits for seats that are free, unless the next one needs more than there are.
    if let Some(next) = set.next_queue().and_then(|index| set.queues[index].waiting.front()) {
        let seats = set.requests[next].estimate.seats_max();
        if set.seats_in_use < set.limit && set.has_room(seats) {
            return Err("seats are free while somebody waits".to_owned());
        }
    }
    Ok(())
}

#[test]
fn a_request_is_served_at_once_while_there_are_seats_and_waits_when_there_are_none() {
    let mut set = queued(4, 2, 10, 2);
    assert_eq!(set.arrive(ms(0), ONE, 1, 0), Arrival::Served(1));
    assert_eq!(set.arrive(ms(0), ONE, 1, 0), Arrival::Served(2));
    assert_eq!(set.arrive(ms(0), ONE, 1, 0), Arrival::Waits(3));
    assert!(set.turns().is_empty());
    set.finish(ms(1), 1);
    assert_eq!(set.turns(), [3]);
    set.finish(ms(2), 2);
    set.finish(ms(2), 3);
    assert!(set.is_idle() && set.seats_in_use() == 0);
    assert_eq!(set.tally(), Tally { dispatched: 3, rejected: 0, cancelled: 0 });
}

#[test]
fn a_full_queue_sends_away_what_comes_next() {
    let mut set = queued(1, 1, 2, 1);
    let arrivals: Vec<Arrival> = (0..4).map(|_| set.arrive(ms(0), ONE, 1, 0)).collect();
    let expected = [Arrival::Served(1), Arrival::Waits(2), Arrival::Waits(3), Arrival::Refused("queue-full")];
    assert_eq!(arrivals, expected);
}

#[test]
fn a_level_that_rejects_has_no_queue() {
    let mut set = QueueSet::new(ms(0), Discipline::Reject, 2);
    assert_eq!(set.arrive(ms(0), ONE, 1, 0), Arrival::Served(1));
    assert_eq!(set.arrive(ms(0), Estimate::seats(2), 1, 0), Arrival::Refused("concurrency-limit"));
    assert_eq!(set.arrive(ms(0), ONE, 1, 0), Arrival::Served(2));
    set.finish(ms(1), 1);
    assert_eq!(set.arrive(ms(1), ONE, 1, 0), Arrival::Served(3));
}

#[test]
fn the_exempt_are_never_refused_and_still_counted() {
    let mut set = QueueSet::new(ms(0), Discipline::Exempt, 0);
    for ticket in 1..=1000 {
        assert_eq!(set.arrive(ms(0), ONE, 1, 0), Arrival::Served(ticket));
    }
    assert_eq!((set.executing(), set.seats_in_use()), (1000, 1000));
    assert!((set.take_demand(ms(5)).max - 1000.0).abs() < 0.1);
}

#[test]
fn who_gives_up_leaves_and_who_was_called_must_finish() {
    let mut set = queued(1, 1, 5, 1);
    set.arrive(ms(0), ONE, 1, 0);
    set.arrive(ms(0), ONE, 1, 0);
    set.arrive(ms(0), ONE, 1, 0);
    assert!(set.give_up(ms(1), 2));
    assert!(!set.give_up(ms(1), 2));
    set.finish(ms(2), 1);
    assert_eq!(set.turns(), [3]);
    assert!(!set.give_up(ms(2), 3));
    set.finish(ms(3), 3);
    assert!(set.is_idle());
    assert_eq!(set.tally(), Tally { dispatched: 2, rejected: 1, cancelled: 1 });
}

#[test]
fn a_request_wider_than_the_limit_goes_alone() {
    let mut set = queued(1, 1, 5, 4);
    set.arrive(ms(0), ONE, 1, 0);
    assert_eq!(set.arrive(ms(0), Estimate::seats(9), 1, 0), Arrival::Waits(2));
    set.finish(ms(1), 1);
    assert_eq!(set.turns(), [2]);
    assert_eq!(set.arrive(ms(1), ONE, 1, 0), Arrival::Waits(3));
    set.finish(ms(2), 2);
    assert_eq!(set.turns(), [3]);
}

#[test]
fn seats_linger_while_watchers_are_told() {
    let mut set = queued(1, 1, 5, 2);
    let write = Estimate { initial_seats: 1, final_seats: 2, additional_latency: ms(5) };
    assert_eq!(set.arrive(ms(0), write, 1, 0), Arrival::Served(1));
    assert_eq!(set.arrive(ms(0), ONE, 1, 0), Arrival::Waits(2));
    set.finish(ms(1), 1);
    assert!(set.turns().is_empty());
    assert_eq!((set.executing(), set.seats_in_use(), set.next()), (0, 2, Some(ms(6))));
    set.pass(ms(5));
    assert!(set.turns().is_empty());
    set.pass(ms(6));
    assert_eq!(set.turns(), [2]);
    assert_eq!(set.next(), None);
}

#[test]
fn more_seats_let_more_in_at_once_and_fewer_let_nobody_in_until_enough_are_free() {
    let mut set = queued(1, 1, 50, 1);
    for _ in 0..6 {
        set.arrive(ms(0), ONE, 1, 0);
    }
    set.limit_to(ms(1), 4);
    assert_eq!(set.turns(), [2, 3, 4]);
    set.limit_to(ms(1), 2);
    set.finish(ms(2), 1);
    set.finish(ms(2), 2);
    assert!(set.turns().is_empty());
    set.finish(ms(2), 3);
    assert_eq!(set.turns(), [5]);
}

#[test]
fn queues_that_are_too_many_are_emptied_before_they_go() {
    let mut set = queued(8, 1, 50, 1);
    for flow in 0..32 {
        set.arrive(ms(0), ONE, flow, flow);
    }
    set.configure(ms(1), Discipline::Queue { queues: 2, hand: 1, length: 50 });
    let mut served = 1;
    let mut turn = 1;
    while !set.is_idle() {
        set.finish(ms(1 + served), turn);
        let turns = set.turns();
        served += u64::try_from(turns.len()).unwrap();
        turn = turns.first().copied().unwrap_or_default();
        check(&set).unwrap();
    }
    assert_eq!((served, set.queues().len()), (32, 2));
}

#[test]
fn a_quiet_flow_is_served_next_whatever_another_one_has_waiting() {
    let mut set = queued(64, 6, 50, 4);
    let (loud, quiet) = (shuffle::flow("s", "loud"), shuffle::flow("s", "quiet"));
    for _ in 0..250 {
        set.arrive(ms(0), ONE, loud, 0);
    }
    let mut running: VecDeque<Ticket> = (1..=4).collect();
    let mut now = ms(0);
    for round in 1..40 {
        let Arrival::Waits(asked) = set.arrive(now, ONE, quiet, 1) else { panic!("no seat is free") };
        // Four at a time, three milliseconds each. At most so many go before it as the loud one has queues.
        let mut before = 0;
        while set.get(asked).is_some_and(|it| it.started.is_none()) {
            now += Duration::from_micros(750);
            let done = running.pop_front().unwrap();
            set.finish(now, done);
            running.extend(set.turns());
            before += 1;
            set.arrive(now, ONE, loud, 0);
        }
        assert!(before <= 12, "{before} went before it in round {round}");
        running.retain(|ticket| *ticket != asked);
        now += ms(3);
        set.finish(now, asked);
        running.extend(set.turns());
        check(&set).unwrap();
    }
}

/// Three flows, each in a queue of its own, always with somebody waiting; one has requests three times as long. How much
/// time each gets must be the same, whatever the lengths.
#[test]
fn flows_that_always_want_more_get_equal_time() {
    let mut set = queued(3, 1, 1000, 6);
    let flows: Vec<u64> = (0..3).collect();
    let lengths = [2, 2, 6];
    let mut now = ms(0);
    let mut running: BTreeMap<Ticket, (usize, Duration)> = BTreeMap::new();
    let mut got = [Duration::ZERO; 3];
    for _ in 0..40 {
        for (index, &flow) in flows.iter().enumerate() {
            if let Arrival::Served(ticket) = set.arrive(now, ONE, flow, u64::try_from(index).unwrap()) {
                running.insert(ticket, (index, now + ms(lengths[index])));
            }
        }
    }
    for _ in 0..6000 {
        let (&ticket, &(index, ends)) = running.iter().min_by_key(|(ticket, it)| (it.1, **ticket)).unwrap();
        now = ends;
        running.remove(&ticket);
        got[index] += ms(lengths[index]);
        set.finish(now, ticket);
        set.arrive(now, ONE, flows[index], u64::try_from(index).unwrap());
        for turn in set.turns() {
            let index = usize::try_from(set.get(turn).unwrap().payload).unwrap();
            running.insert(turn, (index, now + ms(lengths[index])));
        }
        for turn in
            set.requests().filter(|(_, it)| it.started == Some(now)).map(|it| it.0).collect::<Vec<_>>()
        {
            let index = usize::try_from(set.get(turn).unwrap().payload).unwrap();
            running.entry(turn).or_insert((index, now + ms(lengths[index])));
        }
    }
    let all: Duration = got.iter().sum();
    for time in got {
        let part = time.as_secs_f64() / all.as_secs_f64();
        assert!((0.30..0.37).contains(&part), "{got:?}");
    }
}

#[derive(Clone, Debug)]
enum Step {
    Arrive { flow: u64, seats: u32, after: Option<(u32, u64)> },
    Finish(usize),
    GiveUp(usize),
    Pass(u64),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        5 => (0_u64..40, 1_u32..6, proptest::option::of((1_u32..6, 1_u64..20)))
            .prop_map(|(flow, seats, after)| Step::Arrive { flow, seats, after }),
        4 => any::<usize>().prop_map(Step::Finish),
        1 => any::<usize>().prop_map(Step::GiveUp),
        2 => (1_u64..10).prop_map(Step::Pass),
    ]
}

proptest! {
    #[test]
    fn whatever_happens_the_limit_holds_no_seat_is_wasted_and_all_who_wait_are_served_in_the_end(
        steps in proptest::collection::vec(step(), 1..300),
        (queues, hand, length, limit) in (1_usize..12, 1_usize..6, 1_usize..8, 1_u32..8),
    ) {
        let mut set = queued(queues, hand, length, limit);
        let mut now = Duration::ZERO;
        let (mut arrived, mut refused, mut left, mut finished) = (0_u64, 0_u64, 0_u64, 0_u64);
        for step in steps {
            now += Duration::from_micros(100);
            let pick = |served: bool, at: usize| {
                let all: Vec<Ticket> =
                    set.requests().filter(|(_, it)| it.started.is_some() == served).map(|it| it.0).collect();
                (!all.is_empty()).then(|| all[at % all.len()])
            };
            match step {
                Step::Arrive { flow, seats, after } => {
                    let estimate = after.map_or(Estimate::seats(seats), |(final_seats, latency)| Estimate {
                        initial_seats: seats, final_seats, additional_latency: ms(latency),
                    });
                    arrived += 1;
                    if let Arrival::Refused(_) = set.arrive(now, estimate, flow.wrapping_mul(0x9E37_79B9_7F4A_7C15), 0) {
                        refused += 1;
                    }
                }
                Step::Finish(at) => if let Some(ticket) = pick(true, at) {
                    set.finish(now, ticket);
                    finished += 1;
                },
                Step::GiveUp(at) => if let Some(ticket) = pick(false, at) {
                    // Time has passed, so its turn may have come.
                    if set.give_up(now, ticket) {
                        left += 1;
                    } else {
                        set.finish(now, ticket);
                        finished += 1;
                    }
                },
                Step::Pass(milliseconds) => { now += ms(milliseconds); set.pass(now); }
            }
            check(&set).map_err(TestCaseError::fail)?;
        }
        // Now nobody comes any more: all who wait have their turn.
        let mut rounds = 0;
        while !set.is_idle() || set.next().is_some() {
            now += ms(30);
            let served: Vec<Ticket> =
                set.requests().filter(|(_, it)| it.started.is_some()).map(|it| it.0).collect();
            for ticket in served {
                set.finish(now, ticket);
                finished += 1;
            }
            set.pass(now + ms(30));
            now += ms(30);
            check(&set).map_err(TestCaseError::fail)?;
            rounds += 1;
            prop_assert!(rounds < 1000, "somebody starves");
        }
        prop_assert_eq!(arrived, refused + left + finished);
        prop_assert_eq!(set.tally(), Tally { dispatched: finished, rejected: refused + left, cancelled: left });
        prop_assert_eq!(set.seats_in_use(), 0);
    }

    #[test]
    fn a_request_of_a_quiet_flow_goes_before_a_bounded_number_of_those_of_a_flood(
        seed in any::<u64>(), limit in 1_u32..10,
    ) {
        let mut set = queued(32, 4, 50, limit);
        let flood = shuffle::flow("schema", &format!("flood-{seed}"));
        for _ in 0..300 {
            set.arrive(ms(0), ONE, flood, 0);
        }
        let quiet = shuffle::flow("schema", &format!("quiet-{seed}"));
        let asked = match set.arrive(ms(1), ONE, quiet, 1) {
            Arrival::Waits(ticket) => ticket,
            other => return Err(TestCaseError::fail(format!("{other:?}"))),
        };
        let mut now = ms(1);
        let mut before = 0;
        while set.get(asked).is_some_and(|it| it.started.is_none()) {
            now += ms(3);
            let first = set.requests().find(|(_, it)| it.started.is_some()).map(|it| it.0);
            set.finish(now, first.unwrap());
            set.arrive(now, ONE, flood, 0);
            before += 1;
            prop_assert!(before <= 64, "{} went before it", before);
        }
    }
}
