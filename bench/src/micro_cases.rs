//! The steps of a device's way through a campaign, and how each is run for [`crate::micro`].
//!
//! What belongs to the next round is made outside of what is counted; memory that a step takes is given
//! back inside, because a send pays for both.

use bytes::Bytes;
use chrono::{DateTime, Utc};
use http::{HeaderMap, StatusCode};
use jraze_domain::audience::{Condition, Limits};
use jraze_domain::device::{DevicePlatform, PushToken, SendPlatform, bucket};
use jraze_domain::ids::{DeviceId, NotificationUuid};
use jraze_domain::message::{CollapseId, Content, Push};
use jraze_providers::counted::{Connection, Message};
use jraze_providers::transport::Request;
use jraze_providers::{apns, fcm};
use jraze_storage::audience_filter::compile;
use jraze_storage::counted::{Stored, is_among, pack, pack_in_order, pack_sorted, unpack};
use jraze_tests::population::{Person, audience};

use crate::micro::{Case, counted};

/// Every step, in the order of a device's way.
pub(crate) const CASES: &[Case] = &[
    Case {
        name: "audience: compile a condition tree",
        of: "campaign",
        run: compile_condition,
    },
    Case {
        name: "audience: read a device from raw BSON",
        of: "device",
        run: read_device,
    },
    Case {
        name: "message: map and write for FCM and APNs",
        of: "campaign",
        run: prepare,
    },
    Case {
        name: "FCM: body for a token",
        of: "device",
        run: fcm_body,
    },
    Case {
        name: "FCM: encode the request",
        of: "device",
        run: || encode(To::Fcm),
    },
    Case {
        name: "FCM: read an answer of 200",
        of: "device",
        run: || read_answer(To::Fcm),
    },
    Case {
        name: "FCM: classify 200",
        of: "device",
        run: || {
            classify_fcm(
                200,
                br#"{"name":"projects/a-project/messages/0:1700000000000000%1"}"#,
            )
        },
    },
    Case {
        name: "FCM: classify 404 UNREGISTERED",
        of: "device",
        run: || classify_fcm(404, UNREGISTERED),
    },
    Case {
        name: "APNs: path for a token",
        of: "device",
        run: apns_path,
    },
    Case {
        name: "APNs: encode the request",
        of: "device",
        run: || encode(To::Apns),
    },
    Case {
        name: "APNs: read an answer of 200",
        of: "device",
        run: || read_answer(To::Apns),
    },
    Case {
        name: "APNs: classify 200",
        of: "device",
        run: || classify_apns(200, b""),
    },
    Case {
        name: "APNs: classify 410 Unregistered",
        of: "device",
        run: || classify_apns(410, br#"{"reason":"Unregistered","timestamp":1700000000000}"#),
    },
    Case {
        name: "log: pack a window of 1000",
        of: "device",
        run: pack_log,
    },
    Case {
        name: "log: unpack",
        of: "device",
        run: unpack_log,
    },
    Case {
        name: "log: look for one device in a document",
        of: "document",
        run: find_in_log,
    },
];

const UNREGISTERED: &[u8] = br#"{
  "error": {
    "code": 404,
    "message": "Requested entity was not found.",
    "status": "NOT_FOUND",
    "details": [
      { "@type": "type.googleapis.com/google.firebase.fcm.v1.FcmError", "errorCode": "UNREGISTERED" }
    ]
  }
}"#;

/// Rounds of a step that takes some hundred instructions.
const ROUNDS: u64 = 2_000;
/// Rounds of a step that is done once a campaign or a window.
const FEW: u64 = 50;
/// Devices in a window.
const WINDOW: u64 = 1_000;

#[derive(Clone, Copy)]
enum To {
    Fcm,
    Apns,
}

fn noon() -> DateTime<Utc> {
    DateTime::from_timestamp(1_795_262_400, 0).unwrap_or_default()
}

fn push() -> Push {
    let notification = NotificationUuid(uuid::Uuid::from_u128(1));
    Push {
        notification,
        content: Content {
            title: "Spring sale".to_owned(),
            body: "Everything must go".to_owned(),
            deep_link: Some("https://shop.example/sale".to_owned()),
            ..Content::default()
        },
        collapse: CollapseId::of(notification),
        expires_at: None,
    }
}

/// Tokens as long as real ones, in the numbers' order.
fn tokens(to: To) -> impl Iterator<Item = PushToken> {
    let people = (1..)
        .map(Person)
        .filter(move |person| person.is_ios() == matches!(to, To::Apns));
    people.map(|person| PushToken::new(person.token()).expect("a token"))
}

fn compile_condition() -> u64 {
    let tree = audience();
    for _ in 0..FEW {
        let condition = Condition::parse(&tree, Limits::default()).expect("a tree");
        counted(|| drop(compile(&condition, noon())));
    }
    FEW
}

fn read_device() -> u64 {
    let (by, on) = (SendPlatform::Fcm, DevicePlatform::Android);
    let stored: Vec<Stored> = tokens(To::Fcm)
        .zip(1..=ROUNDS)
        .map(|(token, id)| Stored::new(DeviceId(id), &token, by, on))
        .collect();
    for device in &stored {
        counted(|| drop(device.read().expect("read")));
    }
    ROUNDS
}

fn prepare() -> u64 {
    let push = push();
    for _ in 0..FEW {
        counted(|| drop(Message::new(&push, noon())));
    }
    FEW
}

fn fcm_body() -> u64 {
    let message = Message::new(&push(), noon());
    for token in tokens(To::Fcm).take(ROUNDS as usize) {
        counted(|| drop(message.fcm_body(&token)));
    }
    ROUNDS
}

fn apns_path() -> u64 {
    let message = Message::new(&push(), noon());
    for token in tokens(To::Apns).take(ROUNDS as usize) {
        counted(|| drop(message.apns_path(&token).expect("a path")));
    }
    ROUNDS
}

fn encode(to: To) -> u64 {
    on_a_connection(to, |connection, request, body| {
        counted(|| connection.write(request, body));
        connection.be_answered();
        assert_eq!(connection.read(), Some(200));
    })
}

fn read_answer(to: To) -> u64 {
    on_a_connection(to, |connection, request, body| {
        connection.write(request, body);
        connection.be_answered();
        assert_eq!(counted(|| connection.read()), Some(200));
    })
}

/// Requests one after the other on one connection.
fn on_a_connection(to: To, step: impl Fn(&mut Connection, Request, Bytes)) -> u64 {
    let message = Message::new(&push(), noon());
    let mut connection = Connection::default();
    for token in tokens(to).take(ROUNDS as usize) {
        let (request, body) = match to {
            To::Fcm => (message.fcm_request(), message.fcm_body(&token)),
            To::Apns => message.apns_request(&message.apns_path(&token).expect("a path")),
        };
        step(&mut connection, request, body);
    }
    ROUNDS
}

fn classify_fcm(status: u16, body: &[u8]) -> u64 {
    let (status, headers) = (StatusCode::from_u16(status).expect("a status"), HeaderMap::new());
    let at = fcm::classify::Circumstances {
        sent_at: noon(),
        now: noon(),
        proven: true,
    };
    for _ in 0..ROUNDS {
        counted(|| drop(fcm::classify::classify(status, &headers, body, || at)));
    }
    ROUNDS
}

fn classify_apns(status: u16, body: &[u8]) -> u64 {
    let (status, headers) = (StatusCode::from_u16(status).expect("a status"), HeaderMap::new());
    let at = apns::classify::Circumstances {
        sent_at: noon(),
        now: noon(),
        jitter: 0.0,
    };
    for _ in 0..ROUNDS {
        counted(|| drop(apns::classify::classify(status, &headers, body, || at)));
    }
    ROUNDS
}

/// A window of a campaign to a million, in storage order.
fn window() -> Vec<DeviceId> {
    let mut devices: Vec<DeviceId> = (1..=1_000_000)
        .map(DeviceId)
        .filter(|id| (100..=115).contains(&bucket(*id)))
        .collect();
    devices.sort_unstable_by_key(|id| (bucket(*id), *id));
    devices.truncate(WINDOW as usize);
    assert_eq!(devices.len() as u64, WINDOW);
    devices
}

fn pack_log() -> u64 {
    let devices = window();
    for _ in 0..FEW {
        counted(|| drop(pack(&devices)));
    }
    FEW * WINDOW
}

fn unpack_log() -> u64 {
    let packed = pack_in_order(&window());
    for _ in 0..FEW {
        counted(|| drop(unpack(&packed).expect("whole ids")));
    }
    FEW * WINDOW
}

fn find_in_log() -> u64 {
    // One document that holds all the window.
    let packed = pack_sorted(window());
    for _ in 0..FEW {
        // Somebody who is not there, but might be.
        assert!(!counted(|| is_among(&packed, DeviceId(500_001))));
    }
    FEW
}
