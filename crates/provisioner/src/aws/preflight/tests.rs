//! Assessments, fact by fact.

mod account_settings;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use super::report::FindingKind;
use super::*;
use crate::config;
use crate::domain::ids::{InstanceType, KeyName, SubnetId, WorkerTypeName, Zone};
use crate::domain::launch::{Pool, ResolvedPlacement};
use crate::domain::money::UsdPerHour;
use crate::domain::observed::{KeyPair, KeyPairType};
use crate::domain::refusal::{Refusal, RefusalClass, classify, classify_answer};

fn settings(more: &str) -> Settings {
    let text = format!(
        "[worker-defaults]\ninstance-types = ['m5.large']\n\
         [worker-types.linux]\nimage-id = 'ami-1'\nmax-instances = 3\n{more}"
    );
    let mut settings = config::parse(&text, Path::new("/")).unwrap().settings;
    settings.provisioner.key_name = Some(KeyName::from("k"));
    settings
}

fn zones(names: &[&str]) -> BTreeSet<Zone> {
    names.iter().map(|name| Zone::from(*name)).collect()
}

fn site() -> LaunchSite {
    LaunchSite {
        instance_type: InstanceType::from("m5.large"),
        placement: ResolvedPlacement::default(),
    }
}

/// Returns the prices of `m5.large` from millionths of a dollar.
fn prices(of: &[(&str, u64)]) -> BTreeMap<Pool, UsdPerHour> {
    let price = |(zone, micros): &(&str, u64)| {
        let zone = Some(Zone::from(*zone));
        let pool = Pool { instance_type: InstanceType::from("m5.large"), zone };
        (pool, UsdPerHour::from_micros(*micros))
    };
    of.iter().map(price).collect()
}

/// Returns facts without any problem.
fn good() -> PreflightFacts {
    let m5 = InstanceType::from("m5.large");
    let texts = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect();
    let facts = InstanceTypeFacts {
        architectures: texts(&["x86_64"]),
        virtualization_types: texts(&["hvm"]),
        usage_classes: texts(&["on-demand", "spot"]),
        ena_required: true,
        vcpus: Some(2),
    };
    let image = ImageFacts {
        state: Some("available".to_owned()),
        architecture: Some("x86_64".to_owned()),
        virtualization_type: Some("hvm".to_owned()),
        ena: Some(true),
        allowed: Some(true),
        ..ImageFacts::default()
    };
    let linux = WorkerTypeFacts {
        image_id: Ok("ami-1".to_owned()),
        subnets: Ok(BTreeMap::new()),
        placements: Ok(vec![ResolvedPlacement::default()]),
        groups: Vec::new(),
        profile: None,
        user_data: Ok(()),
        launches: vec![(site(), DryRunAnswer::Allowed)],
    };
    let call =
        |operation| DryRun { operation, target: DryRunTarget::Ours, answer: DryRunAnswer::Allowed };
    PreflightFacts {
        region: "r-1".to_owned(),
        key_pair: Ok(KeyPair::Ours),
        key_type: Some(KeyPairType::Ed25519),
        default_subnets: Ok(()),
        metadata_defaults: Ok(MetadataDefaults::default()),
        allowed_images: Ok(AllowedImages::All),
        credits: BTreeMap::new(),
        listing: Ok(()),
        zones: Ok(zones(&["r-1a", "r-1b", "r-1-city-1a"])),
        default_vpc: Some(Ok(Some("vpc-1".to_owned()))),
        images: Ok(BTreeMap::from([("ami-1".to_owned(), image)])),
        instance_types: Ok(BTreeMap::from([(m5.clone(), facts)])),
        offerings: Ok(BTreeMap::from([(m5, zones(&["r-1a", "r-1b"]))])),
        prices: BTreeMap::from([(
            ImageFacts::LINUX.to_owned(),
            Ok(prices(&[("r-1a", 40_000), ("r-1b", 30_000), ("r-1-city-1a", 10_000)])),
        )]),
        spot_role: Ok(true),
        calls: vec![call("TerminateInstances"), call("CreateTags")],
        worker_types: BTreeMap::from([(WorkerTypeName::from("linux"), linux)]),
    }
}

fn linux(facts: &mut PreflightFacts) -> &mut WorkerTypeFacts {
    facts.worker_types.get_mut("linux").unwrap()
}

fn image(facts: &mut PreflightFacts) -> &mut ImageFacts {
    facts.images.as_mut().unwrap().get_mut("ami-1").unwrap()
}

fn m5(facts: &mut PreflightFacts) -> &mut InstanceTypeFacts {
    facts.instance_types.as_mut().unwrap().get_mut("m5.large").unwrap()
}

fn linux_prices(facts: &mut PreflightFacts) -> &mut Fact<BTreeMap<Pool, UsdPerHour>> {
    facts.prices.get_mut(ImageFacts::LINUX).unwrap()
}

fn refusal(code: &str) -> Refusal {
    Refusal {
        class: classify(code).unwrap_or(RefusalClass::Invalid),
        code: code.to_owned(),
        message: "because. Encoded authorization failure message: xyz".to_owned(),
        request_id: Some("1".to_owned()),
    }
}

/// Changes one fact and returns the findings except those that are always present.
fn findings(change: impl FnOnce(&mut PreflightFacts)) -> Vec<(Severity, FindingKind, String)> {
    assessed("", change).0
}

fn assessed(
    more: &str,
    change: impl FnOnce(&mut PreflightFacts),
) -> (Vec<(Severity, FindingKind, String)>, PreflightReport) {
    let mut facts = good();
    change(&mut facts);
    let now = "2026-11-23T12:00:00Z".parse().unwrap();
    let report = assess(&settings(more), &facts, now);
    let findings = report
        .findings
        .iter()
        .filter(|finding| !matches!(finding.kind, FindingKind::Quota | FindingKind::Capacity))
        .map(|finding| (finding.severity, finding.kind, finding.text.clone()))
        .collect();
    (findings, report)
}

#[track_caller]
fn only(
    severity: Severity,
    kind: FindingKind,
    word: &str,
    change: impl FnOnce(&mut PreflightFacts),
) {
    let found = findings(change);
    let [(s, k, text)] = found.as_slice() else { panic!("not one finding: {found:?}") };
    assert_eq!((*s, *k), (severity, kind), "{text}");
    assert!(text.contains(word), "{text}");
}

#[test]
fn what_is_good_passes_and_what_is_unknown_does_not() {
    let (found, report) = assessed("", |_| {});
    assert!(found.is_empty(), "{found:?}");
    assert_eq!(report.count(Severity::NotCheckable), 2);
    assert_eq!(report.unanswered, 0);
    let kinds: BTreeSet<FindingKind> = report.checked.iter().map(|check| check.kind).collect();
    let expected = [
        FindingKind::KeyPair,
        FindingKind::Permission,
        FindingKind::Image,
        FindingKind::InstanceType,
        FindingKind::Launch,
        FindingKind::SpotRole,
        FindingKind::Metadata,
    ];
    assert_eq!(kinds, BTreeSet::from(expected));
    let quota = report.findings.iter().find(|finding| finding.kind == FindingKind::Quota).unwrap();
    assert!(quota.text.contains("need 6 vCPUs"), "{}", quota.text);
}

#[test]
fn the_key_pair() {
    only(Severity::Error, FindingKind::KeyPair, "does not exist", |facts| {
        facts.key_pair = Ok(KeyPair::Absent);
    });
    only(Severity::Warning, FindingKind::KeyPair, "our tag", |facts| {
        facts.key_pair = Ok(KeyPair::Foreign);
    });
    only(Severity::Error, FindingKind::KeyPair, "`run` needs", |facts| {
        facts.key_pair = Err(refusal("UnauthorizedOperation"));
    });
}

#[test]
fn the_highest_price() {
    let price = |more: &str, change: fn(&mut PreflightFacts)| {
        let (found, report) = assessed(more, change);
        let good = report.checked.iter().any(|check| check.kind == FindingKind::Price);
        (
            found.into_iter().filter(|finding| finding.1 == FindingKind::Price).collect::<Vec<_>>(),
            good,
        )
    };
    assert_eq!(price("", |_| {}), (vec![], false), "none is set");
    assert_eq!(price("max-price = 0.03", |_| {}), (vec![], true), "as much as it costs");
    let (found, good) = price("max-price = 0.0299", |_| {});
    let [(Severity::Error, _, text)] = &found[..] else { panic!("{found:?}") };
    assert!(text.contains("0.03, of m5.large in r-1b"), "{text}");
    assert!(!good);

    let two = "max-price = 0.0299\ninstance-types = ['m5.large', 'm4.large']";
    let more = |facts: &mut PreflightFacts| {
        let zone = Some(Zone::from("r-1a"));
        let m4 = Pool { instance_type: InstanceType::from("m4.large"), zone };
        linux_prices(facts).as_mut().unwrap().insert(m4, UsdPerHour::from_micros(20_000));
    };
    let (found, good) = price(two, more);
    assert!(matches!(&found[..], [(Severity::Warning, ..)]), "{found:?}");
    assert!(good, "the other can be had");

    // An unknown price is neither good nor bad.
    let (found, good) =
        price("max-price = 1.0", |facts| *linux_prices(facts) = Ok(BTreeMap::new()));
    assert!(matches!(&found[..], [(Severity::NotCheckable, ..)]), "{found:?}");
    assert!(!good);
    let (found, _) = price(two, |_| {});
    assert!(found.iter().all(|finding| finding.0 != Severity::Error), "{found:?}");
    let (found, _) = price("max-price = 1.0", |facts| {
        *linux_prices(facts) = Err(refusal("UnauthorizedOperation"));
    });
    assert!(matches!(&found[..], [(Severity::NotCheckable, ..)]), "{found:?}");
}

#[test]
fn the_image() {
    only(Severity::Error, FindingKind::Image, "deregistered", |facts| {
        image(facts).state = Some("deregistered".to_owned());
    });
    only(Severity::Warning, FindingKind::Image, "deprecated", |facts| {
        image(facts).deprecated = Some("2026-11-01T00:00:00Z".parse().unwrap());
    });
    assert!(
        findings(|facts| image(facts).deprecated = Some("2027-01-01T00:00:00Z".parse().unwrap()))
            .is_empty()
    );
    only(Severity::Error, FindingKind::Image, "does not exist", |facts| {
        facts.images = Ok(BTreeMap::new());
    });
    only(Severity::NotCheckable, FindingKind::Image, "may not call", |facts| {
        facts.images = Err(refusal("UnauthorizedOperation"));
    });
}

#[test]
fn image_and_instance_type_must_go_together() {
    only(Severity::Error, FindingKind::InstanceType, "arm64", |facts| {
        image(facts).architecture = Some("arm64".to_owned());
    });
    only(Severity::Error, FindingKind::InstanceType, "paravirtual", |facts| {
        image(facts).virtualization_type = Some("paravirtual".to_owned());
    });
    only(Severity::Error, FindingKind::InstanceType, "ENA", |facts| image(facts).ena = Some(false));
    assert!(
        findings(|facts| *image(facts) = ImageFacts::default()).is_empty(),
        "unknown is not wrong"
    );
    assert!(
        findings(|facts| {
            image(facts).ena = Some(false);
            m5(facts).ena_required = false;
        })
        .is_empty()
    );
    only(Severity::Error, FindingKind::InstanceType, "on-demand only", |facts| {
        m5(facts).usage_classes = vec!["on-demand".to_owned()];
    });
}

#[test]
fn an_instance_type_is_offered_everywhere_somewhere_or_nowhere() {
    let offered = |names: &'static [&'static str]| {
        move |facts: &mut PreflightFacts| {
            let offerings = facts.offerings.as_mut().unwrap();
            offerings.insert(InstanceType::from("m5.large"), zones(names));
        }
    };
    only(Severity::Note, FindingKind::InstanceType, "not in r-1b", offered(&["r-1a"]));
    only(Severity::Error, FindingKind::InstanceType, "nowhere", offered(&[]));
    let placed = |zone: &'static str| {
        move |facts: &mut PreflightFacts| {
            let placement = ResolvedPlacement::new(Some(Zone::from(zone)), None);
            linux(facts).placements = Ok(vec![placement]);
        }
    };
    assert!(findings(placed("r-1a")).is_empty());
    only(Severity::Error, FindingKind::InstanceType, "r-1a, r-1b only", placed("r-1-city-1a"));
    only(Severity::Error, FindingKind::InstanceType, "does not exist", |facts| {
        facts.instance_types = Ok(BTreeMap::new());
        facts.offerings = Ok(BTreeMap::new());
    });
}

#[test]
fn networks() {
    only(Severity::Error, FindingKind::Subnet, "no default VPC", |facts| {
        facts.default_vpc = Some(Ok(None));
    });
    let more = "subnets = ['subnet-1']\nsecurity-groups = ['sg-1', 'web']\n";
    let in_vpc = |vpc: Option<&str>| SecurityGroupFacts {
        id: "sg-1".to_owned(),
        vpc: vpc.map(str::to_owned),
    };
    let network = |free, group: Fact<Option<SecurityGroupFacts>>| {
        move |facts: &mut PreflightFacts| {
            let subnet = SubnetFacts {
                zone: Zone::from("r-1a"),
                vpc: "vpc-2".to_owned(),
                free_addresses: Some(free),
            };
            linux(facts).subnets = Ok(BTreeMap::from([(SubnetId::from("subnet-1"), subnet)]));
            linux(facts).groups = vec![("sg-1".to_owned(), group)];
        }
    };
    let found = |change| assessed(more, change).0;
    assert_eq!(found(network(5, Ok(Some(in_vpc(Some("vpc-2")))))), []);
    let found = assessed(more, network(0, Ok(Some(in_vpc(None))))).0;
    assert!(matches!(found.as_slice(), [(Severity::Warning, FindingKind::Subnet, _)]), "{found:?}");
    let found = assessed(more, network(5, Ok(Some(in_vpc(Some("vpc-1")))))).0;
    assert!(
        matches!(found.as_slice(), [(Severity::Error, FindingKind::SecurityGroup, _)]),
        "{found:?}"
    );
    let found = assessed(more, network(5, Ok(None))).0;
    assert!(
        matches!(found.as_slice(), [(Severity::Error, FindingKind::SecurityGroup, _)]),
        "{found:?}"
    );
    let found = assessed(more, network(5, Err(refusal("UnauthorizedOperation")))).0;
    assert!(
        matches!(found.as_slice(), [(Severity::NotCheckable, FindingKind::SecurityGroup, _)]),
        "{found:?}"
    );
    // No such subnet.
    let found = assessed(more, |_| {}).0;
    assert!(matches!(found.as_slice(), [(Severity::Error, FindingKind::Subnet, _)]), "{found:?}");
    // No such zone.
    let found = assessed("availability-zones = ['r-1x']\n", |_| {}).0;
    assert!(matches!(found.as_slice(), [(Severity::Error, FindingKind::Zone, _)]), "{found:?}");
}

#[test]
fn instance_profiles_and_user_data() {
    let more = "iam-instance-profile = 'p'\n";
    let with = |profile: Fact<Option<InstanceProfileFacts>>| {
        assessed(more, |facts| linux(facts).profile = Some(profile))
    };
    assert!(with(Ok(Some(InstanceProfileFacts { has_role: true }))).0.is_empty());
    let severity = |found: &[(Severity, FindingKind, String)]| found[0].0;
    assert_eq!(
        severity(&with(Ok(Some(InstanceProfileFacts { has_role: false }))).0),
        Severity::Error
    );
    assert_eq!(severity(&with(Ok(None)).0), Severity::Error);
    assert_eq!(severity(&with(Err(refusal("AccessDenied"))).0), Severity::NotCheckable);
    let (found, report) = with(Err(refusal("RequestTimeout")));
    assert_eq!((severity(&found), report.unanswered), (Severity::NotCheckable, 0));
    // EC2 learns later of what IAM has.
    let unknown = |profile: Option<InstanceProfileFacts>| {
        let text = "Value (p) for parameter iamInstanceProfile.name is invalid. Invalid IAM Instance \
                    Profile name";
        let refusal = Refusal {
            class: classify_answer("InvalidParameterValue", text).unwrap(),
            message: text.to_owned(),
            ..refusal("InvalidParameterValue")
        };
        let found = assessed(more, |facts| {
            linux(facts).profile = Some(Ok(profile));
            linux(facts).launches[0].1 = Fact::Err(refusal.clone()).into();
        });
        found.0.iter().map(|(severity, kind, _)| (*severity, *kind)).collect::<Vec<_>>()
    };
    let fresh = unknown(Some(InstanceProfileFacts { has_role: true }));
    assert_eq!(fresh, [(Severity::Warning, FindingKind::Launch)]);
    let absent = unknown(None);
    let expected = [
        (Severity::Error, FindingKind::InstanceProfile),
        (Severity::NotCheckable, FindingKind::Launch),
    ];
    assert_eq!(absent, expected);
    only(Severity::Error, FindingKind::UserData, "too long", |facts| {
        linux(facts).user_data = Err("too long".to_owned());
    });
}

fn tried(target: DryRunTarget, code: &'static str) -> impl FnOnce(&mut PreflightFacts) {
    move |facts| {
        facts.calls[0].target = target;
        facts.calls[0].answer = Fact::Err(refusal(code)).into();
    }
}

#[test]
fn a_dry_run_is_allowed_refused_or_unanswered() {
    assert!(findings(tried(DryRunTarget::NothingThere, "DryRunOperation")).is_empty());
    only(
        Severity::Error,
        FindingKind::Permission,
        "TerminateInstances",
        tried(DryRunTarget::Ours, "UnauthorizedOperation"),
    );
    for code in ["UnauthorizedOperation", "InvalidInstanceID.NotFound"] {
        only(
            Severity::NotCheckable,
            FindingKind::Permission,
            code,
            tried(DryRunTarget::NothingThere, code),
        );
    }
    // The instance disappeared between the listing and the dry run.
    let gone = tried(DryRunTarget::Ours, "InvalidInstanceID.NotFound");
    only(Severity::NotCheckable, FindingKind::Permission, "NotFound", gone);
    let (found, report) = assessed("", tried(DryRunTarget::Ours, "RequestLimitExceeded"));
    assert_eq!((found[0].0, report.unanswered), (Severity::NotCheckable, 1));
    only(Severity::Error, FindingKind::Permission, "dry run", |facts| {
        facts.calls[0].answer = Fact::Ok(()).into();
    });
}

#[test]
fn launches() {
    let answered = |code: &'static str| {
        move |facts: &mut PreflightFacts| {
            let answer = DryRunAnswer::Refused(refusal(code));
            linux(facts).launches = vec![(site(), answer.clone()), (site(), answer)];
        }
    };
    // The same answer twice makes one finding.
    only(Severity::Error, FindingKind::Permission, "because.", answered("UnauthorizedOperation"));
    only(
        Severity::Error,
        FindingKind::Launch,
        "InvalidParameterValue",
        answered("InvalidParameterValue"),
    );
    only(Severity::Warning, FindingKind::Launch, "now", answered("MaxSpotInstanceCountExceeded"));
    only(Severity::Error, FindingKind::Launch, "dry run", |facts| {
        linux(facts).launches[0].1 = DryRunAnswer::Done;
    });
    only(Severity::NotCheckable, FindingKind::Launch, "not known", |facts| {
        linux(facts).launches.clear();
    });
    // The image has been reported already.
    let found = findings(|facts| {
        facts.images = Ok(BTreeMap::new());
        answered("InvalidAMIID.NotFound")(facts);
    });
    let severities: Vec<Severity> = found.iter().map(|(severity, ..)| *severity).collect();
    assert_eq!(severities, [Severity::Error, Severity::NotCheckable]);
}

#[test]
fn texts_leave_out_encoded_messages() {
    let (_, report) = assessed("", tried(DryRunTarget::Ours, "UnauthorizedOperation"));
    let text =
        &report.findings.iter().find(|finding| finding.severity == Severity::Error).unwrap().text;
    assert!(text.ends_with("because."), "{text}");
}
