//! Networks whose parameters look like a plain ResNet's and that compute something else with them: known by what those who
//! stored the weights call them, and refused.

use super::onnx;
use super::tensors::Metadata;
use crate::model::error::ModelError;

/// Relatives of the plain ResNet, by what their names hold.
const RELATIVES: [&str; 8] = [
    "resnetaa",
    "resnetblur",
    "resnetrs",
    "resnetv2",
    "resnest",
    "ecaresne",
    "seresne",
    "skresne",
];

/// What a checkpoint calls its network must not be a relative that computes something else. Any other name says nothing:
/// it is whatever somebody wrote.
///
/// # Errors
/// If it is.
pub(super) fn check(meta: &Metadata) -> Result<(), ModelError> {
    let relative = |name: &&String| {
        let name = name.to_ascii_lowercase();
        RELATIVES.iter().any(|relative| name.contains(relative))
    };
    match meta.get("arch").filter(relative) {
        Some(name) => Err(refused("the checkpoint", name)),
        None => Ok(()),
    }
}

/// What timm calls an architecture must be a plain ResNet.
///
/// # Errors
/// If it is not.
pub(super) fn check_timm(name: &str) -> Result<(), ModelError> {
    if is_plain_resnet(name) {
        return Ok(());
    }
    Err(refused("config.json", name))
}

fn refused(said_by: &'static str, name: &str) -> ModelError {
    ModelError::Architecture {
        said_by,
        name: onnx::shown(name),
    }
}

/// timm has relatives whose parameters look the same and that compute something else (`resnetaa50`,
/// `resnetblur50`, `resnet33ts`). Known: `resnet50`, `resnet50d`, `wide_resnet50_2`, `resnext50d_32x4d`, and
/// those with an origin before them, such as `tv_resnet50`.
fn is_plain_resnet(name: &str) -> bool {
    let name = name.split('.').next().unwrap_or_default();
    let rest = ["wide_resnet", "resnext", "resnet"]
        .iter()
        .find_map(|family| name.split_once(family).filter(|(_, r)| !r.is_empty()));
    let Some((before, rest)) = rest else {
        return false;
    };
    let origins = ["", "tv_", "gluon_", "ssl_", "swsl_", "ig_"];
    let kind = rest.trim_start_matches(|c: char| c.is_ascii_digit());
    let (letter, groups) = kind.split_once('_').unwrap_or((kind, ""));
    origins.contains(&before)
        && kind.len() < rest.len()
        && matches!(letter, "" | "c" | "d" | "s" | "t")
        && groups
            .chars()
            .all(|c| c.is_ascii_digit() || c == 'x' || c == 'd')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn relatives_that_compute_something_else_are_refused() {
        for name in [
            "resnet18",
            "resnet50d",
            "resnet26t",
            "wide_resnet50_2",
            "resnext101_32x8d",
            "resnet50.a1_in1k",
            "tv_resnet34",
        ] {
            assert!(is_plain_resnet(name), "{name}");
        }
        for name in [
            "resnetaa50",
            "resnetblur50",
            "resnet33ts",
            "seresnet50",
            "resnetv2_50",
            "resnet50_gn",
            "vit_tiny",
            "resnet",
        ] {
            assert!(!is_plain_resnet(name), "{name}");
        }
    }

    #[test]
    fn a_checkpoint_may_name_its_network_if_it_is_no_relative() {
        let named = |name: &str| check(&[("arch".into(), name.into())].into());
        for name in ["resnet", "resnet50_finetuned", "my_resnext50", "mine"] {
            assert!(named(name).is_ok(), "{name}");
        }
        for name in ["resnetaa34d", "ECAResNet50", "resnetv2_50"] {
            let error = named(name).unwrap_err().to_string();
            assert!(
                error.contains(name) && error.contains("checkpoint"),
                "{error}"
            );
        }
    }
}
