//! Some hundred devices in one value: ids as 8 big-endian bytes each, one byte for each fact.
//!
//! Where the order does not matter and one device is looked for, ids lie *sorted*, as differences to the
//! first, all as wide as the greatest one needs:
//!
//! ```text
//! width u8 | first id u64 | difference to the first, `width` bytes, for each id      (big-endian)
//! ```
//!
//! That is three bytes an id for devices that lie near each other (ids of one app below 16.7 million do), and
//! looking for one is a binary search.
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

/// `ids` must be in ascending order.
pub(crate) fn pack_sorted(ids: &[DeviceId]) -> Vec<u8> {
    let (Some(first), Some(last)) = (ids.first(), ids.last()) else {
        return Vec::new();
    };
    debug_assert!(ids.is_sorted());
    let bits = u64::BITS - (last.0 - first.0).leading_zeros();
    let width = (bits.div_ceil(8) as usize).max(1);
    let mut bytes = Vec::with_capacity(1 + ID_BYTES + ids.len() * width);
    bytes.push(width as u8);
    bytes.extend_from_slice(&first.0.to_be_bytes());
    for id in ids {
        bytes.extend_from_slice(&(id.0 - first.0).to_be_bytes()[ID_BYTES - width..]);
    }
    bytes
}

/// Bytes that [`pack_sorted`] did not write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct NotSorted;

/// Where `id` stands among ids that were packed sorted, if it does.
///
/// # Errors
/// [`NotSorted`] when the bytes have another shape.
pub(crate) fn position_in_sorted(bytes: &[u8], id: DeviceId) -> Result<Option<usize>, NotSorted> {
    let (&width, rest) = bytes.split_first().ok_or(NotSorted)?;
    let (first, differences) = rest.split_first_chunk::<ID_BYTES>().ok_or(NotSorted)?;
    let width = usize::from(width);
    if !(1..=ID_BYTES).contains(&width) || differences.is_empty() || differences.len() % width != 0 {
        return Err(NotSorted);
    }
    let Some(wanted) = id.0.checked_sub(u64::from_be_bytes(*first)) else {
        return Ok(None);
    };
    let wanted = wanted.to_be_bytes();
    let (beyond, wanted) = wanted.split_at(ID_BYTES - width);
    if beyond.iter().any(|byte| *byte != 0) {
        return Ok(None);
    }
    let (mut from, mut to) = (0, differences.len() / width);
    while from < to {
        let middle = from.midpoint(to);
        if differences[middle * width..][..width] < *wanted {
            from = middle + 1;
        } else {
            to = middle;
        }
    }
    let found = differences[from * width..].starts_with(wanted);
    Ok(found.then_some(from))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

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

    fn ids(ids: &[u64]) -> Vec<DeviceId> {
        ids.iter().copied().map(DeviceId).collect()
    }

    #[test]
    fn sorted_ids_are_as_wide_as_the_greatest_difference() {
        let cases: [(&[u64], usize); 7] = [
            (&[], 0),
            (&[7], 9 + 1),
            (&[u64::MAX - 255, u64::MAX], 9 + 2),
            (&[1, 257], 9 + 4),
            (&[1, 16_777_216], 9 + 6),
            (&[1, 16_777_217], 9 + 8),
            (&[0, u64::MAX], 9 + 16),
        ];
        for (of, length) in cases {
            assert_eq!(pack_sorted(&ids(of)).len(), length, "{of:?}");
        }
        // What is stored keeps its meaning.
        assert_eq!(
            pack_sorted(&ids(&[258, 260, 600])),
            [2, 0, 0, 0, 0, 0, 0, 1, 2, 0, 0, 0, 2, 1, 86]
        );
    }

    #[test]
    fn bytes_of_another_shape_are_refused() {
        let good = pack_sorted(&ids(&[1, 2, 300]));
        assert_eq!(position_in_sorted(&good, DeviceId(300)), Ok(Some(2)));
        for bad in [
            &[][..],
            &good[..5],
            &good[..9],
            &good[..10],
            &[&[0], &good[1..]].concat(),
            &[&[9], &good[1..]].concat(),
        ] {
            assert_eq!(position_in_sorted(bad, DeviceId(1)), Err(NotSorted), "{bad:?}");
        }
    }

    proptest! {
        #[test]
        fn each_sorted_id_is_found_where_it_stands_and_no_other(
            mut all in proptest::collection::vec((any::<u64>(), 0..64_u32).prop_map(|(id, shift)| id >> shift), 1..200),
            base in (any::<u64>(), 0..64_u32).prop_map(|(id, shift)| id >> shift),
            others in proptest::collection::vec(any::<u64>(), 20),
        ) {
            for id in &mut all {
                *id = id.saturating_add(base);
            }
            all.sort_unstable();
            let packed = pack_sorted(&ids(&all));
            let near = all.iter().flat_map(|id| [id.wrapping_sub(1), *id, id.wrapping_add(1), id ^ 1 << 40]);
            for id in near.chain(others).chain([0, u64::MAX]) {
                let stands = all.iter().position(|other| *other == id);
                prop_assert_eq!(position_in_sorted(&packed, DeviceId(id)), Ok(stands));
            }
        }
    }
}
