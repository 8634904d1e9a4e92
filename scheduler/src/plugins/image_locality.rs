//! `ImageLocality`: a node that has the Pod's images already is better, the more so the larger and the more widespread.

use crate::{
    plugin::{Plugin, Point, SCORE_MAX, Score},
    pod::Pod,
    snapshot::{Row, Snapshot},
};

/// Less than that does not count, a Pod.
const BYTES_MIN: i64 = 23 << 20;
/// More than that does not count, a container.
const BYTES_MAX: i64 = 1000 << 20;

/// Goes where the images are.
#[derive(Debug)]
pub struct ImageLocality;

struct Images<'a> {
    snapshot: &'a Snapshot,
    /// The images that any node has, and how many have them.
    images: Vec<(&'a str, usize)>,
    most: i64,
}

impl Plugin for ImageLocality {
    fn name(&self) -> &'static str {
        "ImageLocality"
    }

    fn points(&self) -> &'static [Point] {
        &[Point::Score]
    }

    fn score<'a>(
        &'a self,
        pod: &'a Pod,
        snapshot: &'a Snapshot,
        _feasible: &'a [Row],
    ) -> Option<Box<dyn Score + 'a>> {
        let images = pod.images.iter().map(|image| (&**image, snapshot.nodes_with_image(image)));
        let images = images.filter(|(_, nodes)| *nodes > 0).collect();
        let containers = i64::try_from(pod.containers).unwrap_or(i64::MAX);
        let most = BYTES_MAX.saturating_mul(containers).max(BYTES_MAX);
        Some(Box::new(Images { snapshot, images, most }))
    }
}

impl Score for Images<'_> {
    fn rate(&self, row: Row) -> i64 {
        if self.images.is_empty() {
            return 0;
        }
        let node = self.snapshot.node(row);
        let of_image = |(image, nodes): &(&str, usize)| {
            let bytes = node.image_bytes(image).unwrap_or_default();
            // An image that few nodes have must not draw every Pod to them.
            scale(bytes, *nodes, self.snapshot.len())
        };
        let bytes: i64 = self.images.iter().map(of_image).sum();
        SCORE_MAX * (bytes.clamp(BYTES_MIN, self.most) - BYTES_MIN) / (self.most - BYTES_MIN)
    }
}

#[expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    reason = "a share of a size, no larger than it"
)]
fn scale(bytes: i64, nodes: usize, of: usize) -> i64 {
    if of == 0 { 0 } else { (bytes as f64 * (nodes as f64 / of as f64)) as i64 }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::plugins::tests::{pod, scored, snapshot};

    #[test]
    fn a_node_with_the_images_is_better() {
        let node = |name: &str, images: &[(&str, i64)]| {
            let images: Vec<Value> =
                images.iter().map(|(name, mib)| json!({"names": [name], "sizeBytes": mib << 20})).collect();
            json!({"metadata": {"name": name}, "status": {"images": images}})
        };
        let nodes =
            snapshot([node("a", &[("web:latest", 1000), ("db:1", 40)]), node("b", &[("db:1", 40)])], []);
        let of = |images: &[&str]| {
            let containers: Vec<Value> = images.iter().map(|image| json!({"image": image})).collect();
            scored(&ImageLocality, &pod(json!({"spec": {"containers": containers}})), &nodes).unwrap()
        };
        assert_eq!(of(&["web"]), [48, 0], "half the nodes have it");
        assert_eq!(of(&["db:1"]), [1, 1]);
        assert_eq!(of(&["web", "db:1"]), [26, 0]);
    }
}
