use serde_json::json;

use super::*;

fn object(time: &str, manager: &str, value: u32) -> Value {
    json!({"metadata": {"name": "a", "managedFields": [{"manager": manager, "time": time}]}, "data": value})
}

#[test]
fn times_alone_are_no_change() {
    for (old, new, expected) in [
        (object("1", "a", 1), object("2", "a", 1), "1"),
        (object("1", "a", 1), object("2", "a", 2), "2"),
        (object("1", "a", 1), object("2", "b", 1), "2"),
        (json!({"metadata": {"name": "a"}, "data": 1}), object("2", "a", 1), "2"),
    ] {
        let mut restored = new.clone();
        restore_times(&old, &mut restored);
        assert_eq!(restored["metadata"]["managedFields"][0]["time"], expected, "{old} {new}");
    }
}
