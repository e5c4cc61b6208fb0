//! What the configuration says of a camera's pictures and of labels, as what the daemon looks at and says.

use std::time::Duration;

use crate::config::{Config, Region, Share, Votes};
use crate::daemon::{Look, Saying};
use crate::smooth::{self, Confidences};
use crate::spec::{Fit, Flip, Framing, Turn};

/// What holds for every region that says nothing else.
pub fn saying(file: &Config) -> Saying {
    let usual = smooth::Settings::default();
    let named = file.thresholds.iter();
    Saying {
        smoothing: smooth::Settings {
            time_constant: { file.smoothing_ms }.map_or(usual.time_constant, milliseconds),
            dwell: file.label_dwell_ms.map_or(usual.dwell, milliseconds),
            votes: file.votes.and_then(votes),
            keep: { file.hysteresis }.map_or(usual.keep, |share| 1.0 - share.get()),
            ..usual
        },
        confidences: Confidences {
            usual: file.threshold.map(Share::get),
            named: { named.map(|(label, share)| (label.clone(), share.get())) }.collect(),
        },
    }
}

/// The looks at a camera's pictures: its regions, or all of the picture.
pub fn of(
    (turn, flip, fit): (Turn, Flip, Option<Fit>),
    regions: &[Region],
    saying: &Saying,
) -> Vec<Look> {
    let whole = Framing {
        turn,
        flip,
        fit,
        ..Framing::default()
    };
    let look = |region: &Region| {
        let mut own = saying.clone();
        let Region {
            threshold,
            votes: vote,
            smoothing_ms,
            ..
        } = region;
        own.confidences.usual = threshold.map(Share::get).or(own.confidences.usual);
        own.smoothing.votes = vote.and_then(votes).or(own.smoothing.votes);
        let constant = smoothing_ms.map(milliseconds);
        own.smoothing.time_constant = constant.unwrap_or(own.smoothing.time_constant);
        Look {
            region: Some(region.name.as_str().to_owned()),
            framing: Framing {
                area: region.area,
                fit: region.fit.or(fit),
                ..whole
            },
            saying: own,
        }
    };
    if regions.is_empty() {
        return vec![Look {
            region: None,
            framing: whole,
            saying: saying.clone(),
        }];
    }
    regions.iter().map(look).collect()
}

/// Labels that thresholds are named for and that a model does not say.
pub fn unknown<'a>(looks: impl Iterator<Item = &'a Look>, labels: &[String]) -> Vec<&'a str> {
    let named = looks.flat_map(|look| look.saying.confidences.named.keys());
    let mut found: Vec<&str> = named.map(String::as_str).collect();
    found.retain(|name| !labels.iter().any(|label| label == name));
    found.sort_unstable();
    found.dedup();
    found
}

fn votes(votes: Votes) -> Option<smooth::Votes> {
    smooth::Votes::new(votes.needed, votes.of)
}

fn milliseconds(count: u32) -> Duration {
    Duration::from_millis(count.into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    fn file(text: &str) -> Config {
        Config::parse(Path::new("test"), text).unwrap()
    }

    #[test]
    fn without_anything_all_of_the_picture_is_looked_at_as_it_is() {
        let file = Config::default();
        let looks = of(
            (file.rotate, file.flip, file.fit),
            &file.region,
            &saying(&file),
        );
        assert_eq!(looks, [Look::default()]);
    }

    #[test]
    fn a_region_has_what_it_says_and_else_what_all_have() {
        let text = "rotate = 180\nfit = \"letterbox\"\nthreshold = 0.6\nsmoothing_ms = 100\nhysteresis = 0.5\n\
            [thresholds]\n\"golf ball\" = 0.9\n\
            [[region]]\nname = \"door\"\narea = [0, 0, 0.5, 1]\nthreshold = 0.3\nvotes = [2, 3]\n\
            [[region]]\nname = \"yard\"\narea = [0.5, 0, 0.5, 1]\nfit = \"squash\"\n";
        let file = file(text);
        let looks = of(
            (file.rotate, file.flip, file.fit),
            &file.region,
            &saying(&file),
        );
        let [door, yard] = &looks[..] else {
            panic!("two regions: {looks:?}");
        };
        assert_eq!(door.region.as_deref(), Some("door"));
        assert_eq!(
            (door.framing.turn, door.framing.fit),
            (Turn::Half, Some(Fit::Letterbox))
        );
        assert_eq!(yard.framing.fit, Some(Fit::Squash));
        let usual = [door, yard].map(|look| look.saying.confidences.usual);
        assert_eq!(usual, [Some(0.3), Some(0.6)]);
        assert_eq!(door.saying.smoothing.votes, smooth::Votes::new(2, 3));
        assert_eq!(yard.saying.smoothing.votes, None);
        for look in [door, yard] {
            assert_eq!(
                look.saying.smoothing.time_constant,
                Duration::from_millis(100)
            );
            assert!((look.saying.smoothing.keep - 0.5).abs() < f32::EPSILON);
            assert!((look.saying.confidences.named["golf ball"] - 0.9).abs() < 1e-6);
        }
        let labels = ["tench", "golf balls"].map(String::from);
        assert_eq!(unknown(looks.iter(), &labels), ["golf ball"]);
        assert!(unknown(looks.iter(), &["golf ball".to_owned()]).is_empty());
    }
}
