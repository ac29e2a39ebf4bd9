//! Some hundred devices in one value: ids as 8 big-endian bytes each, one byte for each fact.
//!
//! Packed documents are what keeps the queue and the send log at some thousand small documents per
//! million devices (`docs/src/architecture.md` has the figures).

use jraze_domain::ids::DeviceId;
use mongodb::bson::{Binary, spec::BinarySubtype};

const ID_BYTES: usize = size_of::<u64>();

pub(crate) fn binary(bytes: Vec<u8>) -> Binary {
    Binary {
        subtype: BinarySubtype::Generic,
        bytes,
    }
}

pub(crate) fn pack_ids(ids: &[DeviceId]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(ids.len() * ID_BYTES);
    for id in ids {
        bytes.extend_from_slice(&id.0.to_be_bytes());
    }
    bytes
}

/// `None` when the bytes are no whole number of ids.
pub(crate) fn unpack_ids(bytes: &[u8]) -> Option<Vec<DeviceId>> {
    let chunks = bytes.chunks_exact(ID_BYTES);
    if !chunks.remainder().is_empty() {
        return None;
    }
    Some(
        chunks
            .map(|chunk| DeviceId(u64::from_be_bytes(chunk.try_into().unwrap_or_default())))
            .collect(),
    )
}

/// Where `id` stands among packed ids, in any order.
pub(crate) fn position_of(bytes: &[u8], id: DeviceId) -> Option<usize> {
    let wanted = id.0.to_be_bytes();
    bytes.chunks_exact(ID_BYTES).position(|chunk| chunk == wanted)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_survive_packing_in_order() {
        let ids = [DeviceId(1), DeviceId(u64::MAX), DeviceId(256)];
        let packed = pack_ids(&ids);
        assert_eq!(packed.len(), 24);
        assert_eq!(unpack_ids(&packed).as_deref(), Some(&ids[..]));
        assert_eq!(position_of(&packed, DeviceId(256)), Some(2));
        assert_eq!(position_of(&packed, DeviceId(2)), None);
    }

    #[test]
    fn half_an_id_is_refused() {
        assert_eq!(unpack_ids(&[0; 9]), None);
    }
}
