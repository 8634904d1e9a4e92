//! In which order the items of a merged list stand.

use serde_json::Value;

use super::{DIRECTIVE, Failure, name_of};

/// Splits items into those that are in `by` and the others.
pub(super) fn partition(
    items: Vec<Value>,
    by: &[Value],
    key: &str,
) -> Result<(Vec<Value>, Vec<Value>), Failure> {
    let (mut inside, mut outside) = (Vec::new(), Vec::new());
    for item in items {
        let is_inside = if key.is_empty() {
            by.contains(&item)
        } else {
            super::position(by, key, name_of(&item, key)?)?.is_some()
        };
        if is_inside { inside.push(item) } else { outside.push(item) }
    }
    Ok((inside, outside))
}

/// One list of what the patch speaks of (`ours`) and what it does not (`theirs`).
///
/// Ours stand in the order the patch has for them, theirs in the live order, and both keep that when they are put
/// together: theirs come where the live order has them before ours, and else behind.
pub(super) fn arrange(
    ours: Vec<Value>,
    theirs: Vec<Value>,
    patch_order: &[Value],
    live_order: &[Value],
    key: &str,
) -> Result<Vec<Value>, Failure> {
    let ours = sorted(ours, patch_order, key)?;
    let theirs = sorted(theirs, live_order, key)?;
    let mut out = Vec::with_capacity(ours.len() + theirs.len());
    let (mut ours, mut theirs) = (ours.into_iter().peekable(), theirs.into_iter().peekable());
    loop {
        let their_turn = match (theirs.peek(), ours.peek()) {
            (None, None) => return Ok(out),
            (Some(_), None) => true,
            (None, Some(_)) => false,
            (Some(their), Some(our)) => match (index(live_order, their, key), index(live_order, our, key)) {
                (Some(their), Some(our)) => their < our,
                _ => false,
            },
        };
        out.extend(if their_turn { theirs.next() } else { ours.next() });
    }
}

/// Items in an order; those to be deleted last.
fn sorted(items: Vec<Value>, order: &[Value], key: &str) -> Result<Vec<Value>, Failure> {
    let (mut deleted, mut kept) = (Vec::new(), items);
    if !key.is_empty() {
        for item in kept.iter().chain(order) {
            name_of(item, key)?;
        }
        (deleted, kept) =
            kept.into_iter().partition(|item| item.get(DIRECTIVE).and_then(Value::as_str) == Some("delete"));
    }
    kept.sort_by_cached_key(|item| index(order, item, key).unwrap_or(usize::MAX));
    kept.append(&mut deleted);
    Ok(kept)
}

fn index(order: &[Value], item: &Value, key: &str) -> Option<usize> {
    let name = |item: &Value| if key.is_empty() { Some(item.clone()) } else { item.get(key).cloned() };
    let wanted = name(item);
    order.iter().position(|other| name(other) == wanted)
}
