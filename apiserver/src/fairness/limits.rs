//! Which priority level may take how many seats: by its shares, and by what it lends to others or borrows of them.
//!
//! KEP-1040: every ten seconds each level gets what it has been asked for, in one proportion for all, between the least it
//! keeps and the most it may have. Pure.

/// A target of less than this counts as this much: nothing could be a proportion of zero.
const TARGET_MIN: f64 = 0.001;
/// Differences below this are rounding.
const EPSILON: f64 = 0.000_000_1;

/// What a priority level's configuration asks for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Shares {
    /// `nominalConcurrencyShares`
    pub nominal: u32,
    /// `lendablePercent`
    pub lendable_percent: u32,
    /// `borrowingLimitPercent`; as much as there is if it is not given
    pub borrowing_percent: Option<u32>,
}

/// The bounds that follow, in seats.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Bounds {
    /// What it has if nobody borrows.
    pub nominal: u32,
    /// What it does not lend.
    pub min: u32,
    /// What it has when it has borrowed all it may.
    pub max: u32,
}

/// One level when seats are dealt.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Claim {
    /// What it may have.
    pub bounds: Bounds,
    /// Whether it takes what it wants.
    pub exempt: bool,
    /// The most it could have used lately.
    pub high_watermark: u32,
    /// What it is likely to want.
    pub smoothed: f64,
}

/// How seats are dealt.
#[derive(Clone, Debug, PartialEq)]
pub struct Dealt {
    /// The limit of each level, in the order of the claims.
    pub limits: Vec<u32>,
    /// What each should have if there were enough.
    pub targets: Vec<f64>,
    /// Which part of its target each gets that is not held by a bound.
    pub fair_fraction: f64,
}

/// A claim with bounds, of any unit.
#[derive(Clone, Copy, Debug)]
struct Item {
    low: f64,
    high: f64,
    target: f64,
}

/// To the nearest whole number of seats.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "clamped to what fits")]
pub fn whole(seats: f64) -> u32 {
    seats.round().clamp(0.0, f64::from(u32::MAX)) as u32
}

/// The bounds of a level that has `shares` of `all` the shares of a server with `total` seats.
pub fn bounds(total: u32, all: u64, shares: Shares) -> Bounds {
    let nominal = (u64::from(total) * u64::from(shares.nominal)).div_ceil(all.max(1));
    let nominal = u32::try_from(nominal).unwrap_or(u32::MAX);
    let percent = |percent: u32| whole(f64::from(nominal) * f64::from(percent) / 100.0);
    let borrowing = shares.borrowing_percent.map_or(total, percent);
    Bounds {
        nominal,
        min: nominal.saturating_sub(percent(shares.lendable_percent)),
        max: nominal.saturating_add(borrowing),
    }
}

/// The most seats one request may take of a level with queues: a seventh, and no more than fit a hand side by side.
pub fn request_seats_max(nominal: u32, hand: u32) -> u32 {
    whole((f64::from(nominal) * 0.15).ceil()).min(nominal / hand.max(1)).max(1)
}

/// What a level begins with.
pub fn first(bounds: Bounds) -> u32 {
    bounds.nominal - (bounds.nominal - bounds.min.min(bounds.nominal)) / 2
}

/// Deals the seats.
pub fn deal(claims: &[Claim], before: &[u32]) -> Dealt {
    let total: u64 = claims.iter().map(|claim| u64::from(claim.bounds.nominal)).sum();
    let least = |claim: &Claim| {
        let wanted = claim.high_watermark;
        let wanted = if claim.exempt { wanted } else { wanted.min(claim.bounds.nominal) };
        wanted.max(claim.bounds.min)
    };
    let limited = || claims.iter().filter(|claim| !claim.exempt);
    let taken: u64 = claims.iter().filter(|claim| claim.exempt).map(|it| u64::from(least(it))).sum();
    let kept: u64 = limited().map(|claim| u64::from(claim.bounds.min)).sum();
    let wanted: u64 = limited().map(|claim| u64::from(least(claim))).sum();
    let remaining = total.saturating_sub(taken);
    let items: Vec<Item> = limited()
        .map(|claim| Item {
            low: f64::from(least(claim)),
            high: f64::from(claim.bounds.max),
            target: claim.smoothed.max(f64::from(least(claim))),
        })
        .collect();
    let (allotted, fair_fraction): (Vec<u32>, f64) = if remaining <= kept {
        (limited().map(|claim| claim.bounds.min).collect(), 0.0)
    } else if remaining <= wanted {
        let part = real(remaining - kept) / real(wanted - kept);
        let share = |claim: &Claim| {
            claim.bounds.min + whole(f64::from(least(claim).saturating_sub(claim.bounds.min)) * part)
        };
        (limited().map(share).collect(), 0.0)
    } else {
        match proportion(real(total), &items) {
            Some(fair) => (items.iter().map(|item| whole(item.at(fair))).collect(), fair),
            // Bounds that contradict each other: all stays as it is.
            None => {
                let before = claims.iter().zip(before).filter(|(claim, _)| !claim.exempt);
                (before.map(|(_, limit)| *limit).collect(), 0.0)
            }
        }
    };
    let (mut allotted, mut items) = (allotted.into_iter(), items.into_iter());
    let mut dealt = Dealt { limits: Vec::new(), targets: Vec::new(), fair_fraction };
    for claim in claims {
        if claim.exempt {
            dealt.limits.push(least(claim));
            dealt.targets.push(f64::from(least(claim)));
        } else {
            dealt.limits.push(allotted.next().unwrap_or_default());
            dealt.targets.push(items.next().map_or(0.0, |item| item.target));
        }
    }
    dealt
}

/// Exact up to nine quadrillion seats.
#[expect(clippy::cast_precision_loss, reason = "sums of seats are small")]
fn real(seats: u64) -> f64 {
    seats as f64
}

/// The proportion of their targets that all items together come to `sum` with, each within its bounds.
fn proportion(sum: f64, items: &[Item]) -> Option<f64> {
    let at = |fair: f64| -> f64 { items.iter().map(|item| item.at(fair)).sum() };
    let low: f64 = items.iter().map(|item| item.low).sum();
    let high: f64 = items.iter().map(|item| item.high).sum();
    if items.iter().any(|item| item.high < item.low) || low - sum > EPSILON || sum - high > EPSILON {
        return None;
    }
    // Between two bounds that are met one after the other the sum grows evenly.
    let mut bends: Vec<f64> =
        items.iter().flat_map(|item| [item.low / item.target(), item.high / item.target()]).collect();
    bends.sort_by(f64::total_cmp);
    let mut from = bends.first().copied().unwrap_or_default();
    for to in bends {
        let (before, after) = (at(from), at(to));
        if sum <= after + EPSILON {
            let slope = after - before;
            return Some(if slope <= EPSILON { to } else { from + (sum - before) / slope * (to - from) });
        }
        from = to;
    }
    Some(from)
}

// === impl Item ===

impl Item {
    fn target(&self) -> f64 {
        self.target.max(TARGET_MIN)
    }

    fn at(&self, fair: f64) -> f64 {
        (fair * self.target()).max(self.low).min(self.high)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The levels of a fresh cluster: shares and lendable percentages, as `bootstrap` has them.
    const FRESH: [(&str, u32, u32, bool); 8] = [
        ("exempt", 0, 0, true),
        ("catch-all", 5, 0, false),
        ("global-default", 20, 50, false),
        ("leader-election", 10, 0, false),
        ("node-high", 40, 25, false),
        ("system", 30, 33, false),
        ("workload-high", 40, 50, false),
        ("workload-low", 100, 90, false),
    ];

    fn fresh(demand: &[(&str, u32)]) -> Vec<Claim> {
        FRESH
            .iter()
            .map(|&(name, nominal, lendable_percent, exempt)| {
                let shares = Shares { nominal, lendable_percent, borrowing_percent: None };
                let wanted = demand.iter().find(|it| it.0 == name).map_or(0, |it| it.1);
                Claim {
                    bounds: bounds(600, 245, shares),
                    exempt,
                    high_watermark: wanted,
                    smoothed: f64::from(wanted),
                }
            })
            .collect()
    }

    #[test]
    fn a_fresh_clusters_levels_have_upstreams_limits() {
        let found: Vec<_> = fresh(&[]).iter().map(|it| (it.bounds.nominal, it.bounds.min)).collect();
        // The same numbers a default kube-apiserver publishes as nominal_limit_seats and lower_limit_seats.
        let expected = [(0, 0), (13, 13), (49, 24), (25, 25), (98, 73), (74, 50), (98, 49), (245, 24)];
        assert_eq!(found, expected);
    }

    #[test]
    fn who_wants_seats_borrows_those_that_nobody_uses() {
        let claims = fresh(&[("workload-high", 500)]);
        let dealt = deal(&claims, &[0; 8]);
        let sum: u32 = dealt.limits.iter().sum();
        assert!(dealt.limits[6] > 300, "{dealt:?}");
        assert!((598..=606).contains(&sum), "{sum}");
        // The others keep what they do not lend.
        for (limit, claim) in dealt.limits.iter().zip(&claims) {
            assert!(*limit >= claim.bounds.min);
        }
    }

    #[test]
    fn everybody_has_their_own_when_all_want_more() {
        let all: Vec<(&str, u32)> = FRESH.iter().filter(|it| !it.3).map(|it| (it.0, 1000)).collect();
        let claims = fresh(&all);
        let dealt = deal(&claims, &[0; 8]);
        let nominal: Vec<u32> = claims.iter().map(|claim| claim.bounds.nominal).collect();
        assert_eq!(dealt.limits, nominal);
    }

    #[test]
    fn what_the_exempt_take_is_missing_for_the_others_down_to_what_they_do_not_lend() {
        let claims = fresh(&[("exempt", 10_000), ("workload-low", 245)]);
        let dealt = deal(&claims, &[0; 8]);
        assert_eq!(dealt.limits[0], 10_000);
        assert_eq!(dealt.limits[7], claims[7].bounds.min);
    }

    #[test]
    fn a_request_may_take_a_seventh_of_its_level_and_no_more_than_a_hand_leaves() {
        for (nominal, hand, expected) in [(245, 6, 37), (49, 6, 8), (25, 4, 4), (5, 6, 1), (600, 1, 90)] {
            assert_eq!(request_seats_max(nominal, hand), expected);
        }
    }

    proptest! {
        #[test]
        fn limits_stay_within_bounds_and_come_to_the_total(
            levels in proptest::collection::vec((1_u32..200, 0_u32..=100, proptest::option::of(0_u32..400), 0_u32..900), 1..9)
        ) {
            let all: u64 = levels.iter().map(|it| u64::from(it.0)).sum();
            let claims: Vec<Claim> = levels.iter().map(|&(nominal, lendable_percent, borrowing_percent, wanted)| Claim {
                bounds: bounds(600, all, Shares { nominal, lendable_percent, borrowing_percent }),
                exempt: false,
                high_watermark: wanted,
                smoothed: f64::from(wanted) * 0.8,
            }).collect();
            let dealt = deal(&claims, &vec![0; claims.len()]);
            let total: u32 = claims.iter().map(|it| it.bounds.nominal).sum();
            for (limit, claim) in dealt.limits.iter().zip(&claims) {
                prop_assert!(*limit >= claim.bounds.min && *limit <= claim.bounds.max.max(claim.bounds.min));
                // Nobody lends what it has use for.
                prop_assert!(*limit >= claim.high_watermark.min(claim.bounds.nominal));
            }
            let sum: u32 = dealt.limits.iter().sum();
            let count = u32::try_from(claims.len()).unwrap();
            prop_assert!(sum.abs_diff(total) <= count, "{} of {}", sum, total);
        }
    }
}
