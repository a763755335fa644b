//! The calls that load and unload models, where clients may.
//!
//! KServe and Triton have them under the same names with other fields; a request of either is understood, and the answer
//! is KServe's, of which Triton's clients read nothing.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};

use super::frame;
use super::messages::{ModelExchange, ModelExchanged};
use super::tell::read;
use crate::desk::Desk;
use crate::http::ApiError;
use crate::repository::Change;

pub(super) async fn load(State(desk): State<Arc<Desk>>, request: Request) -> Response {
    change(&desk, request, Change::Load).await
}

pub(super) async fn unload(State(desk): State<Arc<Desk>>, request: Request) -> Response {
    change(&desk, request, Change::Unload).await
}

async fn change(
    desk: &Arc<Desk>,
    request: Request,
    change: impl FnOnce(String) -> Change,
) -> Response {
    let answer = async {
        let asked: ModelExchange = read(desk, request).await?;
        let name = asked.name();
        desk.change_models_for_client(change(name.clone())).await?;
        Ok::<_, ApiError>(ModelExchanged {
            model_name: name,
            done: true,
        })
    };
    match answer.await {
        Ok(answer) => frame::answer(&answer),
        Err(error) => error.into_response(),
    }
}
