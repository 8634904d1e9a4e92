//! Goal: what is told arrives, once. Method: a recorder against the server in memory, with time paused.

use api_types::status::Status;
use serde_json::json;

use super::*;
use crate::{
    resource::{EVENTS, PODS},
    testing::{FakeServer, Fault},
};

fn world() -> (FakeServer, Recorder) {
    let runtime = Runtime::simulated("2026-01-01T00:00:00Z".parse().unwrap(), 1);
    let server = FakeServer::new(&runtime);
    let recorder = Recorder::start(&runtime, server.api(), "tester");
    (server, recorder)
}

fn about() -> ObjectRef {
    let meta: Meta =
        serde_json::from_value(json!({"namespace": "ns", "name": "a", "uid": "u", "resourceVersion": "9"}))
            .unwrap();
    ObjectRef::new(&PODS, &meta)
}

async fn settle() {
    tokio::time::sleep(Duration::from_millis(1)).await;
}

#[tokio::test(start_paused = true)]
async fn an_event_is_written_as_upstream_writes_it() {
    let (server, recorder) = world();
    recorder.record(&about(), &Note::warning("Failed", "it broke"));
    settle().await;
    let mut events = server.list(&EVENTS);
    let event = events.remove(0);
    let wanted = json!({
        "involvedObject": {"apiVersion": "v1", "kind": "Pod", "namespace": "ns", "name": "a", "uid": "u", "resourceVersion": "9"},
        "type": "Warning", "reason": "Failed", "message": "it broke", "count": 1,
        "firstTimestamp": "2026-01-01T00:00:00Z", "lastTimestamp": "2026-01-01T00:00:00Z",
        "source": {"component": "tester"}, "reportingComponent": "tester", "reportingInstance": "",
    });
    for (field, value) in wanted.as_object().unwrap() {
        assert_eq!(event[field], *value, "{field}");
    }
    assert_eq!(event["metadata"]["name"], "a.18867251edfa0000");
}

#[tokio::test(start_paused = true)]
async fn the_same_again_counts_even_if_the_first_event_has_expired() {
    let (server, recorder) = world();
    let note = Note::normal("Done", "all done");
    recorder.record(&about(), &note);
    settle().await;
    recorder.record(&about(), &note);
    settle().await;
    assert_eq!(server.list(&EVENTS).iter().map(|event| event["count"].clone()).collect::<Vec<_>>(), [2]);
    let name = server.list(&EVENTS)[0]["metadata"]["name"].as_str().unwrap().to_owned();
    assert!(server.remove(&EVENTS, &crate::Key::new("ns", &name)));
    recorder.record(&about(), &note);
    settle().await;
    assert_eq!(server.list(&EVENTS)[0]["count"], 3);
}

#[tokio::test(start_paused = true)]
async fn a_server_that_is_away_is_tried_again_and_one_that_refuses_is_not() {
    let (server, recorder) = world();
    for fault in [Fault::Unreachable, Fault::Answer(Status::unavailable("not now"))] {
        server.fail_next("events", fault);
    }
    recorder.record(&about(), &Note::normal("One", "one"));
    tokio::time::sleep(Duration::from_secs(21)).await;
    assert_eq!(server.list(&EVENTS).len(), 1);
    server.take_requests();
    server.fail_next("events", Fault::Answer(Status::forbidden(&EVENTS.group_resource(), "", "no")));
    recorder.record(&about(), &Note::normal("Two", "two"));
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert_eq!((server.list(&EVENTS).len(), server.take_requests().len()), (1, 1));
}
