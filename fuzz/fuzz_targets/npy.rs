//! Bytes as an `.npy` file: an array comes back as it was, a refusal takes no more memory than the file.

#![no_main]

use libfuzzer_sys::fuzz_target;
use resnet_fuzz::memory::peak_of;
use resnet_fuzz::npy::{Array, Values};
use resnet_fuzz::panics;

/// Besides the file's bytes, which double as they are read and are then converted: the header's words, as numbers and
/// in an error.
const FIXED_BYTES: u64 = 64 << 10;

fuzz_target!(init: panics::install(), |bytes: &[u8]| {
    let (result, peak) = peak_of(|| Array::read(&mut &bytes[..]));
    let allowed = FIXED_BYTES + 16 * bytes.len() as u64;
    assert!(peak <= allowed, "{peak} bytes held, allowed are {allowed}");
    let Ok(array) = result else { return };
    assert_eq!(array.shape().iter().product::<usize>(), array.values().len());
    let mut file = Vec::new();
    array.write(&mut file).expect("a vector takes it");
    let again = Array::read(&mut &file[..]).expect("just written");
    assert_eq!(again.shape(), array.shape());
    match (again.values(), array.values()) {
        (Values::U8(one), Values::U8(other)) => assert_eq!(one, other),
        (Values::F32(one), Values::F32(other)) => {
            let same = one.iter().map(|v| v.to_bits()).eq(other.iter().map(|v| v.to_bits()));
            assert!(same, "a value has changed");
        }
        _ => panic!("the type has changed"),
    }
});
