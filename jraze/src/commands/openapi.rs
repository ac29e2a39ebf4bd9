//! `jraze openapi`: prints the contract. `make generate` keeps `openapi/openapi.yaml` equal to it.

use super::Done;
use crate::output::Output;

pub(crate) fn run(output: Output) -> anyhow::Result<Done> {
    output.text(jraze_openapi::spec::yaml().trim_end());
    Ok(Done::Fully)
}
