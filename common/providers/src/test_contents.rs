//! Contents to try messages with.

use jraze_domain::message::Content;
use rand::{RngExt as _, SeedableRng as _, rngs::StdRng};

/// Contents of every make, some of them heavier than a message may be.
pub(crate) fn contents() -> impl Iterator<Item = Content> {
    let mut rng = StdRng::seed_from_u64(20_261_121);
    let mut text = move |longest: usize| {
        let length = rng.random_range(0..=longest);
        let letters = ["a", "\"", "\\", "\n", "é", "🎉", "/", "<"];
        // Mostly plain, so that long texts are within bounds as often as not.
        (0..length)
            .map(|_| letters[rng.random_range(0..64_usize).saturating_sub(56)])
            .collect::<String>()
    };
    (0..2_000).map(move |number: usize| {
        let some = |bit: usize, text: String| (number & bit != 0).then_some(text);
        Content {
            title: text(200),
            body: text(2_500),
            deep_link: if number & 1 != 0 {
                some(2, format!("https://a.example/{}", text(300)))
            } else {
                some(2, format!("app://{}", text(300)))
            },
            image_url: some(4, format!("https://a.example/{}", text(300))),
            icon_url: some(8, format!("https://a.example/{}", text(200))),
            data: (0..number % 9)
                .map(|entry| (format!("key-{entry}"), text(120)))
                .collect(),
        }
    })
}
