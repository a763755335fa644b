//! The stable codes of what a request can meet at the desk and behind it.
//!
//! Told by [`DeskError::code`](super::DeskError::code). A protocol makes its own status of a code; `http` adds the codes
//! of what only HTTP can get wrong.

/// Why there is no answer, as programs read it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Code {
    /// The models are still loading.
    NotReady,
    /// The server is going down.
    ShuttingDown,
    /// A key is needed.
    Unauthorized,
    /// No model of that name.
    UnknownModel,
    /// No such version of a model.
    UnknownVersion,
    /// Clients may not exchange models here.
    ModelsFixed,
    /// Models are being exchanged already.
    ModelsBusy,
    /// A model cannot be loaded or unloaded.
    ModelRefused,
    /// The client's deadline is no time.
    BadTimeout,
    /// The body has too many bytes.
    BodyTooLarge,
    /// The body came too slowly.
    BodyTimeout,
    /// Other bodies hold the memory.
    BodyMemoryFull,
    /// The answer would be too large.
    AnswerTooLarge,
    /// The body broke off.
    BodyIncomplete,
    /// Every place in the queue is taken.
    QueueFull,
    /// The client has its share of the places.
    ClientQueueFull,
    /// The wait would be too long.
    Overloaded,
    /// All threads of a pool are stuck.
    Stuck,
    /// The deadline passed.
    DeadlineExceeded,
    /// There are no bytes.
    EmptyBody,
    /// The bytes are no image of a known format.
    UnsupportedMediaType,
    /// The image ends early.
    ImageTruncated,
    /// The image is damaged.
    ImageCorrupt,
    /// The image takes too long to decode.
    ImageDecodeTimeout,
    /// Other images hold the memory for decoding.
    DecodeMemoryFull,
    /// The system has no memory.
    OutOfMemory,
    /// The image is of a variant that is not decoded.
    ImageUnsupported,
    /// The image is too large.
    ImageTooManyPixels,
    /// The network has no finite answer to the values that were sent.
    BadValues,
    /// A fault of the server.
    Internal,
}

impl Code {
    /// All codes, in the order in which they are declared.
    pub const ALL: [Code; 30] = [
        Code::NotReady,
        Code::ShuttingDown,
        Code::Unauthorized,
        Code::UnknownModel,
        Code::UnknownVersion,
        Code::ModelsFixed,
        Code::ModelsBusy,
        Code::ModelRefused,
        Code::BadTimeout,
        Code::BodyTooLarge,
        Code::BodyTimeout,
        Code::BodyMemoryFull,
        Code::AnswerTooLarge,
        Code::BodyIncomplete,
        Code::QueueFull,
        Code::ClientQueueFull,
        Code::Overloaded,
        Code::Stuck,
        Code::DeadlineExceeded,
        Code::EmptyBody,
        Code::UnsupportedMediaType,
        Code::ImageTruncated,
        Code::ImageCorrupt,
        Code::ImageDecodeTimeout,
        Code::DecodeMemoryFull,
        Code::OutOfMemory,
        Code::ImageUnsupported,
        Code::ImageTooManyPixels,
        Code::BadValues,
        Code::Internal,
    ];

    /// The code as it goes over the wire; never changed.
    #[must_use]
    pub const fn name(self) -> &'static str {
        self.row().0
    }

    /// A few words for people.
    #[must_use]
    pub const fn title(self) -> &'static str {
        self.row().1
    }

    const fn row(self) -> (&'static str, &'static str) {
        match self {
            Code::NotReady => ("not_ready", "Not ready"),
            Code::ShuttingDown => ("shutting_down", "Shutting down"),
            Code::Unauthorized => ("unauthorized", "Unauthorized"),
            Code::UnknownModel => ("unknown_model", "Unknown model"),
            Code::UnknownVersion => ("unknown_version", "Unknown version"),
            Code::ModelsFixed => ("models_fixed", "Models are fixed"),
            Code::ModelsBusy => ("models_busy", "Models are being exchanged"),
            Code::ModelRefused => ("model_refused", "Model refused"),
            Code::BadTimeout => ("bad_timeout", "Bad timeout"),
            Code::BodyTooLarge => ("body_too_large", "Body too large"),
            Code::BodyTimeout => ("body_timeout", "Body too slow"),
            Code::BodyMemoryFull => ("body_memory_full", "No memory for the body"),
            Code::AnswerTooLarge => ("answer_too_large", "Answer too large"),
            Code::BodyIncomplete => ("body_incomplete", "Body incomplete"),
            Code::QueueFull => ("queue_full", "Queue full"),
            Code::ClientQueueFull => ("client_queue_full", "Too many images of this client"),
            Code::Overloaded => ("overloaded", "Overloaded"),
            Code::Stuck => ("stuck", "Stuck"),
            Code::DeadlineExceeded => ("deadline_exceeded", "Deadline exceeded"),
            Code::EmptyBody => ("empty_body", "Empty body"),
            Code::UnsupportedMediaType => {
                ("unsupported_media_type", "Not an accepted image format")
            }
            Code::ImageTruncated => ("image_truncated", "Image truncated"),
            Code::ImageCorrupt => ("image_corrupt", "Image corrupt"),
            Code::ImageDecodeTimeout => ("image_decode_timeout", "Image takes too long to decode"),
            Code::DecodeMemoryFull => ("decode_memory_full", "No memory to decode"),
            Code::OutOfMemory => ("out_of_memory", "Out of memory"),
            Code::ImageUnsupported => ("image_unsupported", "Image variant not supported"),
            Code::ImageTooManyPixels => ("image_too_many_pixels", "Image too large"),
            Code::BadValues => ("bad_values", "No finite answer to these values"),
            Code::Internal => ("internal", "Internal error"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_are_all() {
        // The last one's number: the compiler does not count a list.
        assert_eq!(Code::ALL.len(), Code::Internal as usize + 1);
        for (index, code) in Code::ALL.into_iter().enumerate() {
            assert_eq!(code as usize, index, "{}", code.name());
        }
    }
}
