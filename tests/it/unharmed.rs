//! A server with a photo whose answer is known, to be asked again after each hostile case.

use serde_json::Value;

use crate::harness::{Settings, TestServer, fixture_bytes, tiny};

pub(crate) struct Golden {
    pub(crate) server: TestServer,
    photo: Vec<u8>,
    answer: Value,
}

impl Golden {
    /// The built-in model, ready, and what it says of the photo.
    pub(crate) fn start(settings: &Settings) -> Golden {
        let server = TestServer::start(vec![tiny()], settings);
        let photo = fixture_bytes("photos/espresso.png");
        let answer = server.post("/classify", &photo).ok();
        Golden {
            server,
            photo,
            answer,
        }
    }

    /// The server lives and its answers are what they were.
    pub(crate) fn assert_unharmed(&self, after: &str) {
        assert_eq!(self.server.get("/livez").status, 200, "after {after}");
        let answer = self.server.post("/classify", &self.photo).ok();
        assert_eq!(answer, self.answer, "after {after}");
    }
}
