//! Imports that expect new devices, and imports that do not.

use super::*;

/// A small generator: the same changes in every run.
struct Draws(u64);

impl Draws {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self
            .0
            .wrapping_mul(0x5851_F42D_4C95_7F2D)
            .wrapping_add(0x1405_7B7E_F767_814F);
        (self.0 >> 33) % bound
    }

    /// A change that is likely to meet another one: few names, few tokens.
    fn change(&mut self) -> Change {
        let external_id = name(&format!("d{}", self.below(40)));
        let push_token = match self.below(8) {
            0 => TokenChange::Clear,
            1 | 2 => TokenChange::Keep,
            _ => token(&format!("{:08x}", self.below(30))),
        };
        let send_platform = match self.below(6) {
            0 => None,
            1 => Some(SendPlatform::Apns),
            _ => Some(SendPlatform::Fcm),
        };
        let registration = Registration {
            push_token,
            send_platform,
            ..Registration::of(external_id.clone())
        };
        let properties = match self.below(4) {
            0 => json!({}),
            1 => json!({ "gone": null, "n": self.below(9) }),
            _ => json!({ "gone": true, "n": self.below(9), "list": [1, "a", 0.5, false] }),
        };
        let mut change = Change {
            properties: changes(properties),
            ..Change::register(registration)
        };
        match self.below(12) {
            0 => change = Change::properties(external_id, change.properties),
            1 => change.guard = Guard::Secret(None),
            _ => {}
        }
        change
    }
}

/// What a device is, but for what an id decides.
fn told(device: &Device) -> (Option<PushToken>, TokenState, SendPlatform, Value, DateTime<Utc>) {
    (
        device.push_token.clone(),
        device.token_state.clone(),
        device.send_platform,
        properties_of(device),
        device.modified_at,
    )
}

#[tokio::test]
async fn whether_new_devices_are_expected_or_not_the_outcome_is_the_same() {
    let fixture = Fixture::new().await;
    let mut draws = Draws(7);
    for round in 0..60 {
        let batch: Vec<Change> = (0..1 + draws.below(25)).map(|_| draws.change()).collect();
        let mut outcomes = Vec::new();
        for app in [APP, OTHER_APP] {
            // The last batch of an app tells what is expected of the next.
            let last = if app == APP {
                format!("fresh {round}")
            } else {
                "known".to_owned()
            };
            for _ in 0..2 - u8::from(app == APP) {
                let last = Change::register(registration(&last, TokenChange::Keep));
                fixture.devices.import(app, vec![last], now()).await;
            }
            let results = fixture.devices.import(app, batch.clone(), later()).await;
            let shown = results.into_iter().map(|result| match result {
                Ok(imported) => format!("created: {}", imported.created),
                Err(error) => format!("{error}"),
            });
            outcomes.push(shown.collect::<Vec<_>>());
        }
        assert_eq!(outcomes[0], outcomes[1], "round {round}");
    }
    for number in 0..40 {
        let name = name(&format!("d{number}"));
        let mut devices = Vec::new();
        for app in [APP, OTHER_APP] {
            let device = fixture.devices.get(app, &name).await.expect("an answer");
            devices.push(device.as_ref().map(told));
        }
        assert_eq!(devices[0], devices[1], "d{number}");
    }
}

#[tokio::test]
async fn a_token_that_a_known_device_has_goes_to_the_new_one_although_new_ones_were_expected() {
    let fixture = Fixture::new().await;
    let of = |from: u32, until: u32| (from..until).map(|n| with_token(&format!("d{n}"), &format!("t{n}")));
    fixture.devices.import(APP, of(0, 300).collect(), now()).await;
    let mut batch: Vec<Change> = of(300, 600).collect();
    batch[100] = with_token("taker", "t5");
    batch[200] = with_token("d7", "its new one");
    let outcomes = fixture.devices.import(APP, batch, later()).await;
    for (index, outcome) in outcomes.into_iter().enumerate() {
        assert_eq!(outcome.expect("made").created, index != 200, "{index}");
    }
    assert_eq!(fixture.get("d5").await.push_token, None);
    for (device, has) in [("taker", "t5"), ("d7", "its new one"), ("d450", "t450")] {
        let device = fixture.get(device).await;
        assert_eq!(device.push_token.as_ref().map(PushToken::as_str), Some(has));
    }
}
