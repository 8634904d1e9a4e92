//! Unified differences of texts, as the `difflib` of Python finds them: the longest run of equal lines first, then the
//! same on both sides of it. Lines that are very frequent in a long text begin no run.
//!
//! Invariant: nothing here knows what the texts are about.

use std::collections::BTreeMap;

/// How many lines are shown around a difference.
const CONTEXT: usize = 3;
/// From how many lines on frequent ones are looked over.
const LONG: usize = 200;

/// Equal lines: from where in the one text and in the other, and how many.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Run {
    old: usize,
    new: usize,
    length: usize,
}

/// A step from the one text to the other: these lines of the one become those of the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Step {
    equal: bool,
    old: (usize, usize),
    new: (usize, usize),
}

/// The unified difference of two texts, empty if there is none.
pub(super) fn diff(old: &str, new: &str) -> String {
    let (old, new): (Vec<&str>, Vec<&str>) = (old.split('\n').collect(), new.split('\n').collect());
    let mut text = String::new();
    for group in grouped(&steps(&old, &new)) {
        let (Some(first), Some(last)) = (group.first(), group.last()) else { continue };
        text.push_str(&format!(
            "@@ -{} +{} @@\n",
            range(first.old.0, last.old.1),
            range(first.new.0, last.new.1)
        ));
        for step in &group {
            let mut lines = |sign: char, lines: &[&str], (from, to): (usize, usize)| {
                for line in lines.iter().take(to).skip(from) {
                    text.push(sign);
                    text.push_str(line);
                    text.push('\n');
                }
            };
            if step.equal {
                lines(' ', &old, step.old);
            } else {
                lines('-', &old, step.old);
                lines('+', &new, step.new);
            }
        }
    }
    text
}

fn range(from: usize, to: usize) -> String {
    match to.saturating_sub(from) {
        0 => format!("{from},0"),
        1 => format!("{}", from + 1),
        length => format!("{},{length}", from + 1),
    }
}

/// Where in the new text each line is, frequent ones excepted.
fn places<'a>(new: &[&'a str]) -> BTreeMap<&'a str, Vec<usize>> {
    let mut places: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
    for (index, line) in new.iter().enumerate() {
        places.entry(line).or_default().push(index);
    }
    if new.len() >= LONG {
        let frequent = new.len() / 100 + 1;
        places.retain(|_, places| places.len() <= frequent);
    }
    places
}

/// The longest run of equal lines within these bounds, the first of several.
fn longest(
    old: &[&str],
    new: &[&str],
    places: &BTreeMap<&str, Vec<usize>>,
    (old_from, old_to): (usize, usize),
    (new_from, new_to): (usize, usize),
) -> Run {
    let mut best = Run { old: old_from, new: new_from, length: 0 };
    // How long the run is that ends at the line before, by its place in the new text.
    let mut lengths: BTreeMap<usize, usize> = BTreeMap::new();
    for (at, line) in old.iter().enumerate().take(old_to).skip(old_from) {
        let mut next = BTreeMap::new();
        for &place in places.get(line).into_iter().flatten() {
            if place < new_from {
                continue;
            }
            if place >= new_to {
                break;
            }
            let before = place.checked_sub(1).and_then(|before| lengths.get(&before)).copied();
            let length = before.unwrap_or_default() + 1;
            next.insert(place, length);
            if length > best.length {
                best = Run { old: at + 1 - length, new: place + 1 - length, length };
            }
        }
        lengths = next;
    }
    // Frequent lines begin no run, but they may lengthen one.
    while best.old > old_from && best.new > new_from && old.get(best.old - 1) == new.get(best.new - 1) {
        best = Run { old: best.old - 1, new: best.new - 1, length: best.length + 1 };
    }
    while best.old + best.length < old_to
        && best.new + best.length < new_to
        && old.get(best.old + best.length) == new.get(best.new + best.length)
    {
        best.length += 1;
    }
    best
}

/// All runs, in order, those that touch as one; at the end an empty one.
fn runs(old: &[&str], new: &[&str]) -> Vec<Run> {
    let places = places(new);
    let mut found = Vec::new();
    let mut open = vec![((0, old.len()), (0, new.len()))];
    while let Some((old_bounds, new_bounds)) = open.pop() {
        let run = longest(old, new, &places, old_bounds, new_bounds);
        if run.length == 0 {
            continue;
        }
        found.push(run);
        if old_bounds.0 < run.old && new_bounds.0 < run.new {
            open.push(((old_bounds.0, run.old), (new_bounds.0, run.new)));
        }
        let (old_end, new_end) = (run.old + run.length, run.new + run.length);
        if old_end < old_bounds.1 && new_end < new_bounds.1 {
            open.push(((old_end, old_bounds.1), (new_end, new_bounds.1)));
        }
    }
    found.sort_by_key(|run| (run.old, run.new));
    let mut runs: Vec<Run> = Vec::new();
    for run in found {
        match runs.last_mut() {
            Some(last) if last.old + last.length == run.old && last.new + last.length == run.new => {
                last.length += run.length;
            }
            _ => runs.push(run),
        }
    }
    runs.push(Run { old: old.len(), new: new.len(), length: 0 });
    runs
}

fn steps(old: &[&str], new: &[&str]) -> Vec<Step> {
    let mut steps = Vec::new();
    let (mut old_at, mut new_at) = (0, 0);
    for run in runs(old, new) {
        if old_at < run.old || new_at < run.new {
            steps.push(Step { equal: false, old: (old_at, run.old), new: (new_at, run.new) });
        }
        (old_at, new_at) = (run.old + run.length, run.new + run.length);
        if run.length > 0 {
            steps.push(Step { equal: true, old: (run.old, old_at), new: (run.new, new_at) });
        }
    }
    steps
}

/// The steps in groups, with no more equal lines than are shown around a difference.
fn grouped(steps: &[Step]) -> Vec<Vec<Step>> {
    let mut groups = Vec::new();
    let mut group: Vec<Step> = Vec::new();
    let count = steps.len();
    for (index, step) in steps.iter().enumerate() {
        let mut step = *step;
        if step.equal && index == 0 {
            step = tail(step);
        }
        if step.equal && index + 1 == count {
            step = head(step);
        }
        if step.equal && step.old.1 - step.old.0 > 2 * CONTEXT {
            group.push(head(step));
            groups.push(std::mem::take(&mut group));
            step = tail(step);
        }
        group.push(step);
    }
    groups.push(group);
    groups.retain(|group| group.iter().any(|step| !step.equal));
    groups
}

fn head(step: Step) -> Step {
    let end = |(from, to): (usize, usize)| (from, to.min(from + CONTEXT));
    Step { old: end(step.old), new: end(step.new), ..step }
}

fn tail(step: Step) -> Step {
    let start = |(from, to): (usize, usize)| (from.max(to.saturating_sub(CONTEXT)), to);
    Step { old: start(step.old), new: start(step.new), ..step }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_differ_line_by_line() {
        let lines =
            |range: std::ops::Range<usize>| range.map(|it| it.to_string()).collect::<Vec<_>>().join("\n");
        for (old, new, expected) in [
            ("a\nb", "a\nb", "".to_owned()),
            ("a\nb", "a\nc", "@@ -1,2 +1,2 @@\n a\n-b\n+c\n".to_owned()),
            ("a", "b", "@@ -1 +1 @@\n-a\n+b\n".to_owned()),
            (
                &lines(0..20),
                &format!("{}\nx\n{}", lines(0..4), lines(4..20)),
                "@@ -2,6 +2,7 @@\n 1\n 2\n 3\n+x\n 4\n 5\n 6\n".to_owned(),
            ),
            (
                &lines(0..30),
                &format!("x\n{}\ny", lines(1..29)),
                "@@ -1,4 +1,4 @@\n-0\n+x\n 1\n 2\n 3\n@@ -27,4 +27,4 @@\n 26\n 27\n 28\n-29\n+y\n".to_owned(),
            ),
        ] {
            assert_eq!(diff(old, new), expected);
        }
    }

    #[test]
    fn frequent_lines_of_long_texts_begin_no_run() {
        let many = "null\n".repeat(300);
        let (old, new) = (format!("a\n{many}b"), format!("c\n{many}b"));
        // The last line is the one run that is found, and grows to the front.
        assert_eq!(diff(&old, &new), "@@ -1,4 +1,4 @@\n-a\n+c\n null\n null\n null\n");
    }
}
