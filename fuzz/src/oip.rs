//! What must hold for any inference request: the readers of the Open Inference Protocol, as the service has them.
//!
//! Called by the targets `oip` and `grpc_message`. Images, or the refusal, must come within the memory that the request
//! allows, and say nothing that is not ours.

#[path = "../../src/oip/binary.rs"]
pub mod binary;
#[path = "../../src/oip/datatype.rs"]
mod datatype;
#[path = "../../src/oip/error.rs"]
mod error;
#[path = "../../src/grpc/infer_request.rs"]
#[allow(dead_code, reason = "the service looks the model up by what is read")]
mod infer_request;
#[path = "../../src/oip/json.rs"]
pub mod json;
#[path = "../../src/oip/model.rs"]
mod model;
#[path = "../../src/oip/numbers.rs"]
mod numbers;
#[path = "../../src/oip/parameters.rs"]
mod parameters;
#[path = "../../src/oip/request/mod.rs"]
pub mod request;
#[path = "../../src/oip/tensor.rs"]
mod tensor;

pub use self::datatype::Datatype;
pub use self::error::OipError;
pub use self::model::{InputForm, ModelForm, OutputForm, Values};
pub use self::parameters::{Parameter, Parameters};
pub use self::request::{Request, Wanted, WantedOutput, Work};
pub use self::tensor::{InputTensor, NOTHING, RequestedOutput, TensorData};

use bytes::Bytes;
use libfuzzer_sys::Corpus;

use crate::memory::peak_of;

/// Most images of a request.
const MAX_IMAGES: usize = 4;

/// What reading may hold besides what the request is made of.
const FIXED_BYTES: u64 = 64 << 10;

/// Longest refusal, in bytes: a sentence, and what it quotes of the request.
const LONGEST_REFUSAL: usize = 1000;

/// A model of 4×4 pixels.
fn form() -> ModelForm {
    let output = |name, values, shape: &[usize]| OutputForm {
        name,
        values,
        shape: shape.to_vec(),
    };
    ModelForm {
        input: InputForm {
            name: "data".into(),
            size: crate::tensor::Size::square(4),
        },
        outputs: vec![
            output("logits", Values::Raw, &[10]),
            output("probabilities", Values::Probabilities, &[10]),
            output("features", Values::Features, &[6]),
            output("feature_map", Values::FeatureMap, &[6, 2, 2]),
        ],
        own_output: "dense0_fwd".into(),
        classes: 10,
    }
}

/// Reads a body of REST; the input's first two bytes tell where its JSON ends, and whether that is told.
///
/// # Panics
/// If anything does not hold.
pub fn check_rest(input: &[u8]) -> Corpus {
    let Some((length, body)) = input.split_first_chunk::<2>() else {
        return Corpus::Reject;
    };
    let length = u16::from_le_bytes(*length);
    let length = (length != u16::MAX).then_some(length.into());
    let body = Bytes::copy_from_slice(body);
    let size = body.len();
    let form = form();
    let (result, peak) = peak_of(|| request::take_apart(body, length, &form, MAX_IMAGES));
    check(result, peak, size);
    Corpus::Keep
}

/// Reads a message of gRPC.
///
/// # Panics
/// If anything does not hold.
pub fn check_grpc(input: &[u8]) -> Corpus {
    let message = Bytes::copy_from_slice(input);
    let form = form();
    let (result, peak) = peak_of(|| {
        let read = infer_request::read(message)?;
        Work::of(read.request, &form, MAX_IMAGES)
    });
    check(result, peak, input.len());
    Corpus::Keep
}

fn check(result: Result<Work, OipError>, peak: u64, size: usize) {
    // A short object of JSON becomes an input of some hundred bytes; vectors double.
    let allowed = FIXED_BYTES + 32 * size as u64;
    assert!(peak <= allowed, "{peak} bytes held, allowed are {allowed}");
    match result {
        Ok(work) => {
            let count = work.images.len();
            assert!((1..=MAX_IMAGES).contains(&count), "{count} images");
            assert!(!work.wanted.outputs.is_empty(), "an answer has outputs");
        }
        Err(e) => {
            let text = e.to_string();
            assert!(text.len() <= LONGEST_REFUSAL, "{text}");
            for word in [
                "serde",
                "struct ",
                "panicked",
                "DecodeError",
                "invalid type",
            ] {
                // What the refusal quotes is the client's own.
                assert!(text.contains('"') || !text.contains(word), "{text}");
            }
        }
    }
}
