//! The one call of SSM that the provisioner makes, `GetParameter`, which is in JSON (AWS Systems Manager API
//! Reference).

use serde::Deserialize;
use serde_json::json;

use super::QueryResponse;
use crate::deployment::IMAGE;

/// The header that names the operation.
pub const TARGET: &str = "x-amz-target";

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct GetParameter {
    name: String,
}

/// Answers a call. Every public parameter of an image names the one simulated image.
pub fn answer(target: &str, body: &str) -> QueryResponse {
    let refused = |kind: &str, message: String| QueryResponse {
        status: 400,
        body: json!({ "__type": kind, "message": message }).to_string(),
    };
    if target != "AmazonSSM.GetParameter" {
        return refused("UnknownOperationException", format!("There is no {target} here."));
    }
    let Ok(GetParameter { name }) = serde_json::from_str(body) else {
        return refused("ValidationException", "The parameter Name is missing.".to_owned());
    };
    if !name.starts_with("/aws/service/") {
        return refused("ParameterNotFound", format!("There is no parameter {name}."));
    }
    let parameter = json!({ "Name": name, "Type": "String", "Value": IMAGE, "Version": 1 });
    QueryResponse { status: 200, body: json!({ "Parameter": parameter }).to_string() }
}
