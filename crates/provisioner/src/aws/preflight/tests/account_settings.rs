//! Settings of the account, and what of an image or instance type costs or fails later than the launch.

use super::*;

#[test]
fn accounts_that_enforce_session_tokens_refuse_spot_requests() {
    let with = |change: fn(&mut MetadataDefaults), image_requires: bool| {
        findings(|facts| {
            change(facts.metadata_defaults.as_mut().unwrap());
            image(facts).requires_tokens = image_requires;
        })
    };
    let severities = |found: Vec<(Severity, FindingKind, String)>| {
        let is_metadata = |finding: &(Severity, FindingKind, String)| {
            assert_eq!(finding.1, FindingKind::Metadata, "{finding:?}");
            finding.0
        };
        found.iter().map(is_metadata).collect::<Vec<_>>()
    };
    let enforced = |defaults: &mut MetadataDefaults| defaults.tokens_enforced = true;
    assert_eq!(severities(with(enforced, false)), [Severity::Error]);
    // The account or the image requires them by default, which may or may not count.
    assert_eq!(severities(with(enforced, true)), [Severity::Warning]);
    let by_default = |defaults: &mut MetadataDefaults| {
        *defaults = MetadataDefaults {
            tokens_enforced: true,
            tokens_required: Some(true),
            ..MetadataDefaults::default()
        };
    };
    assert_eq!(severities(with(by_default, false)), [Severity::Warning]);
    // The account's default comes before the image's.
    let optional = |defaults: &mut MetadataDefaults| {
        *defaults = MetadataDefaults {
            tokens_enforced: true,
            tokens_required: Some(false),
            ..MetadataDefaults::default()
        };
    };
    assert_eq!(severities(with(optional, true)), [Severity::Error]);
    let without = |defaults: &mut MetadataDefaults| defaults.has_endpoint = Some(false);
    assert_eq!(severities(with(without, false)), [Severity::Warning]);

    // One hop concerns those that have credentials to give.
    let one_hop = |facts: &mut PreflightFacts| {
        facts.metadata_defaults.as_mut().unwrap().hop_limit = Some(1);
        linux(facts).profile = Some(Ok(Some(InstanceProfileFacts { has_role: true })));
    };
    assert_eq!(findings(one_hop), []);
    let found = assessed("iam-instance-profile = 'p'\n", one_hop).0;
    assert_eq!(severities(found), [Severity::Warning]);
}

#[test]
fn settings_of_the_account_that_cannot_be_read_are_not_checkable() {
    for code in ["UnauthorizedOperation", "InvalidAction", "RequestLimitExceeded"] {
        only(
            Severity::NotCheckable,
            FindingKind::Metadata,
            "GetInstanceMetadataDefaults",
            |facts| {
                facts.metadata_defaults = Err(refusal(code));
            },
        );
        only(Severity::NotCheckable, FindingKind::Image, "GetAllowedImagesSettings", |facts| {
            facts.allowed_images = Err(refusal(code));
        });
    }
    only(Severity::NotCheckable, FindingKind::Subnet, "DescribeSubnets", |facts| {
        facts.default_subnets = Err(refusal("UnauthorizedOperation"));
    });
}

#[test]
fn images_that_the_account_does_not_allow() {
    let with = |allowed: Fact<AllowedImages>| {
        findings(|facts| {
            facts.allowed_images = allowed;
            image(facts).allowed = Some(false);
        })
    };
    let severities = |found: Vec<(Severity, FindingKind, String)>| {
        found.iter().map(|(severity, ..)| *severity).collect::<Vec<_>>()
    };
    assert_eq!(with(Ok(AllowedImages::All)), []);
    assert_eq!(severities(with(Ok(AllowedImages::Audited))), [Severity::Warning]);
    assert_eq!(severities(with(Ok(AllowedImages::Listed))), [Severity::Error]);
    let unknown = severities(with(Err(refusal("UnauthorizedOperation"))));
    assert_eq!(unknown, [Severity::NotCheckable, Severity::NotCheckable]);
    // EC2 does not show what is not allowed.
    only(Severity::Error, FindingKind::Image, "allowed-images", |facts| {
        facts.allowed_images = Ok(AllowedImages::Listed);
        facts.images = Ok(BTreeMap::new());
    });
}

#[test]
fn volumes_that_outlive_their_machines() {
    let lasting = |facts: &mut PreflightFacts| {
        image(facts).lasting_devices = vec!["/dev/sdb".to_owned()];
    };
    only(Severity::Note, FindingKind::Volume, "launches say", lasting);
    let mapped = |ebs: &str| {
        let more = format!(
            "[worker-types.linux.launch-specification]\n\
             BlockDeviceMappings = [{{ DeviceName = '/dev/sdb', Ebs = {{ {ebs} }} }}]\n"
        );
        assessed(&more, lasting).0
    };
    assert_eq!(mapped("VolumeSize = 8"), []);
    let kept = mapped("VolumeSize = 8, DeleteOnTermination = false");
    assert!(matches!(kept.as_slice(), [(Severity::Warning, FindingKind::Volume, _)]), "{kept:?}");
}

#[test]
fn windows_takes_another_key_pair_and_another_price() {
    let windows = |facts: &mut PreflightFacts| {
        image(facts).platform = Some("Windows".to_owned());
        facts.prices.insert("Windows".to_owned(), Ok(prices(&[("r-1a", 120_000)])));
    };
    only(Severity::Error, FindingKind::KeyPair, "ED25519", windows);
    for key_type in [Some(KeyPairType::Rsa), None] {
        let found = findings(|facts| {
            windows(facts);
            facts.key_type = key_type;
        });
        assert_eq!(found, [], "{key_type:?}");
    }
    let (found, _) = assessed("max-price = 0.05\n", |facts| {
        windows(facts);
        facts.key_type = Some(KeyPairType::Rsa);
    });
    let [(Severity::Error, FindingKind::Price, text)] = found.as_slice() else {
        panic!("{found:?}")
    };
    assert!(text.contains("0.12, of m5.large"), "{text}");
}

#[test]
fn burstable_types_cost_more_than_their_price_unless_the_account_says_otherwise() {
    let more =
        "max-price = 0.05\ninstance-types = ['t3.large']\n[limits]\nmax-usd-per-hour = 1.0\n";
    let with = |more: &str, credits: Option<Fact<String>>| {
        let (found, _) = assessed(more, |facts| {
            let kind = m5(facts).clone();
            let t3 = InstanceType::from("t3.large");
            facts.instance_types.as_mut().unwrap().insert(t3.clone(), kind);
            facts.offerings.as_mut().unwrap().insert(t3, zones(&["r-1a", "r-1b"]));
            facts.credits = credits.map(|it| ("t3".to_owned(), it)).into_iter().collect();
        });
        found.into_iter().filter(|(_, kind, _)| *kind == FindingKind::Credits).collect::<Vec<_>>()
    };
    let unlimited = with(more, Some(Ok("unlimited".to_owned())));
    let [(Severity::Warning, _, text)] = unlimited.as_slice() else { panic!("{unlimited:?}") };
    assert!(text.contains("0.10 USD") && text.contains("0.15 USD per hour, not 0.05"), "{text}");
    assert_eq!(with(more, Some(Ok("standard".to_owned()))), []);
    let denied = with(more, Some(Err(refusal("UnauthorizedOperation"))));
    let severities: Vec<Severity> = denied.iter().map(|(severity, ..)| *severity).collect();
    assert_eq!(severities, [Severity::NotCheckable, Severity::Warning]);
    // Without a dollar limit nothing is promised.
    assert_eq!(with("instance-types = ['t3.large']\n", None), []);
}
