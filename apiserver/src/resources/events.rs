//! The kinds of `events.k8s.io`.

#[expect(
    clippy::module_inception,
    reason = "the group and its kind have one name, and there is a file a kind"
)]
pub(crate) mod events;
