//! Devices and their properties.

use std::collections::BTreeMap;

use jraze_domain::device::{
    Device, DevicePlatform, ExternalId, Properties, PropertyChanges, PropertyKey, PropertyValue, PushToken,
    Registration, SendPlatform, ShortText, TokenChange, TokenState,
};
use jraze_openapi::dto::{
    ApiError, Device as Shown, DevicePlatform as WireDevicePlatform, DeviceUpsert, ImportLine, PropertiesAdd,
    PropertyValue as WireValue, SendPlatform as WireSendPlatform,
};

use super::{error, pointer_token};

/// The name in a path. One that no device can have names none.
///
/// # Errors
///
/// 404.
pub(crate) fn name_in_path(text: String) -> Result<ExternalId, ApiError> {
    ExternalId::new(text).map_err(|_| error::service(crate::services::ServiceError::UnknownDevice))
}

/// A registration.
///
/// # Errors
///
/// 400 with a pointer to the field.
pub(crate) fn registration(sent: DeviceUpsert) -> Result<Registration, ApiError> {
    let external_id =
        ExternalId::new(sent.external_id).map_err(|fault| error::device("/external_id", fault))?;
    let push_token = match sent.push_token {
        None => TokenChange::Keep,
        Some(None) => TokenChange::Clear,
        Some(Some(token)) => {
            TokenChange::Set(PushToken::new(token).map_err(|fault| error::device("/push_token", fault))?)
        }
    };
    let registration = Registration {
        external_id,
        push_token,
        send_platform: sent.send_platform.map(send_platform),
        device_platform: sent.device_platform.map(device_platform),
        locale: short_text("/locale", sent.locale)?,
        time_zone: short_text("/time_zone", sent.time_zone)?,
        app_version: short_text("/app_version", sent.app_version)?,
    };
    registration.check().map_err(error::implausible)?;
    Ok(registration)
}

fn short_text(pointer: &str, text: Option<String>) -> Result<Option<ShortText>, ApiError> {
    text.map(|text| ShortText::new(text).map_err(|fault| error::device(pointer, fault)))
        .transpose()
}

/// The changes of `properties/:add`.
///
/// # Errors
///
/// 400 with a pointer to the key or the value.
pub(crate) fn property_changes(sent: PropertiesAdd) -> Result<PropertyChanges, ApiError> {
    if sent.properties.is_empty() {
        let message = "names at least one property";
        return Err(ApiError::invalid("invalid_property", "/properties", message));
    }
    let read = sent.properties.into_iter().enumerate().map(|(index, property)| {
        let place = format!("/properties/{index}");
        let key = PropertyKey::new(&property.key)
            .map_err(|fault| error::property(format!("{place}/key"), fault))?;
        let value = PropertyValue::from_json(&property.value.0)
            .map_err(|fault| error::property(format!("{place}/value"), fault))?;
        Ok((key, value))
    });
    let changes = read.collect::<Result<Vec<_>, ApiError>>()?;
    PropertyChanges::new(changes).map_err(|fault| error::property("/properties", fault))
}

/// A line of an import: the registration and what it does to the properties.
///
/// # Errors
///
/// 400 with a pointer into the line.
pub(crate) fn import_line(line: ImportLine) -> Result<(Registration, PropertyChanges), ApiError> {
    let (device, properties) = line.split();
    let registration = registration(device)?;
    let read = properties.into_iter().map(|(name, WireValue(value))| {
        let pointer = || format!("/properties/{}", pointer_token(&name));
        let key = PropertyKey::new(&name).map_err(|fault| error::property(pointer(), fault))?;
        let value = PropertyValue::from_json(&value).map_err(|fault| error::property(pointer(), fault))?;
        Ok((key, value))
    });
    let changes = read.collect::<Result<Vec<_>, ApiError>>()?;
    let changes = PropertyChanges::new(changes).map_err(|fault| error::property("/properties", fault))?;
    Ok((registration, changes))
}

/// A device, with its secret when it was made just now.
pub(crate) fn show(device: Device, device_secret: Option<String>) -> Shown {
    let dead = matches!(device.token_state, TokenState::Dead { .. });
    Shown {
        object_id: hex(&device.storage_id()),
        id: device.id.0,
        external_id: device.external_id.as_str().to_owned(),
        push_token: device
            .push_token
            .filter(|_| !dead)
            .map(|token| token.as_str().to_owned()),
        send_platform: show_send_platform(device.send_platform),
        device_platform: show_device_platform(device.device_platform),
        random_bucket: device.random_bucket.into(),
        device_properties: show_properties(&device.properties),
        locale: device.locale.as_ref().map(|text| text.as_str().to_owned()),
        time_zone: device.time_zone.as_ref().map(|text| text.as_str().to_owned()),
        app_version: device.app_version.as_ref().map(|text| text.as_str().to_owned()),
        last_seen_at: Some(device.last_seen_at.into()),
        created_at: device.created_at.into(),
        modified_at: device.modified_at.into(),
        device_secret,
    }
}

/// A device as the import reads it. A dead token is left out: the import would bring it to life.
pub(crate) fn export_line(device: Device) -> ImportLine {
    let dead = matches!(device.token_state, TokenState::Dead { .. });
    let text = |text: Option<ShortText>| text.map(|text| text.as_str().to_owned());
    let properties: BTreeMap<_, _> = device
        .properties
        .iter()
        .map(|(key, value)| (key.as_str().to_owned(), WireValue(value.to_json())))
        .collect();
    ImportLine {
        external_id: device.external_id.as_str().to_owned(),
        push_token: device
            .push_token
            .filter(|_| !dead)
            .map(|token| Some(token.as_str().to_owned())),
        send_platform: Some(show_send_platform(device.send_platform)),
        device_platform: Some(show_device_platform(device.device_platform)),
        locale: text(device.locale),
        time_zone: text(device.time_zone),
        app_version: text(device.app_version),
        properties: (!properties.is_empty()).then_some(properties),
    }
}

fn show_properties(properties: &Properties) -> Vec<BTreeMap<String, WireValue>> {
    let entry = |(key, value): (&PropertyKey, &PropertyValue)| {
        BTreeMap::from([(key.as_str().to_owned(), WireValue(value.to_json()))])
    };
    properties.iter().map(entry).collect()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn send_platform(wire: WireSendPlatform) -> SendPlatform {
    match wire {
        WireSendPlatform::Unknown => SendPlatform::Unknown,
        WireSendPlatform::Fcm => SendPlatform::Fcm,
        WireSendPlatform::Apns => SendPlatform::Apns,
        WireSendPlatform::WebPush => SendPlatform::WebPush,
    }
}

pub(super) fn show_send_platform(platform: SendPlatform) -> WireSendPlatform {
    match platform {
        SendPlatform::Unknown => WireSendPlatform::Unknown,
        SendPlatform::Fcm => WireSendPlatform::Fcm,
        SendPlatform::Apns => WireSendPlatform::Apns,
        SendPlatform::WebPush => WireSendPlatform::WebPush,
    }
}

fn device_platform(wire: WireDevicePlatform) -> DevicePlatform {
    match wire {
        WireDevicePlatform::Unknown => DevicePlatform::Unknown,
        WireDevicePlatform::Android => DevicePlatform::Android,
        WireDevicePlatform::Ios => DevicePlatform::Ios,
        WireDevicePlatform::Web => DevicePlatform::Web,
    }
}

pub(super) fn show_device_platform(platform: DevicePlatform) -> WireDevicePlatform {
    match platform {
        DevicePlatform::Unknown => WireDevicePlatform::Unknown,
        DevicePlatform::Android => WireDevicePlatform::Android,
        DevicePlatform::Ios => WireDevicePlatform::Ios,
        DevicePlatform::Web => WireDevicePlatform::Web,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn platforms_have_the_same_number_on_both_sides() {
        for wire in WireSendPlatform::ALL {
            assert_eq!(i32::from(send_platform(*wire).number()), wire.number());
            assert_eq!(show_send_platform(send_platform(*wire)), *wire);
        }
        for wire in WireDevicePlatform::ALL {
            assert_eq!(i32::from(device_platform(*wire).number()), wire.number());
            assert_eq!(show_device_platform(device_platform(*wire)), *wire);
        }
    }

    #[test]
    fn a_token_that_is_not_named_is_kept_and_null_clears_it() {
        let token = |body| {
            registration(serde_json::from_value(body).unwrap())
                .unwrap()
                .push_token
        };
        assert_eq!(token(json!({"external_id": "a"})), TokenChange::Keep);
        assert_eq!(
            token(json!({"external_id": "a", "push_token": null})),
            TokenChange::Clear
        );
        let set = token(json!({"external_id": "a", "push_token": "t"}));
        assert!(matches!(set, TokenChange::Set(_)));
    }

    #[test]
    fn a_wrong_property_is_pointed_at() {
        let changes = |body| property_changes(serde_json::from_value(body).unwrap()).unwrap_err();
        let good = json!({"key": "a", "value": 1});
        let error = changes(json!({"properties": [good, {"key": "$where", "value": 1}]}));
        assert_eq!(error.fields[0].pointer, "/properties/1/key");
        let error = changes(json!({"properties": [{"key": "a", "value": {"$gt": 1}}]}));
        assert_eq!(error.fields[0].pointer, "/properties/0/value");
        assert_eq!(
            changes(json!({"properties": []})).fields[0].pointer,
            "/properties"
        );
    }

    #[test]
    fn a_wrong_property_of_a_line_is_pointed_at_by_its_key() {
        let line = json!({"external_id": "a", "properties": {"a/b": 1}});
        let error = import_line(serde_json::from_value(line).unwrap()).unwrap_err();
        assert_eq!(error.fields[0].pointer, "/properties/a~1b");
    }
}
