//! What `validate --aws` reads of the account, and that it changes nothing.

use std::path::Path;
use std::sync::Arc;

use jiff::Timestamp;
use provisioner::internal::aws::preflight::{PreflightReport, Severity, assess};
use provisioner::internal::config;
use provisioner::internal::domain::ids::KeyName;
use provisioner::internal::settings::Settings;

use crate::transport::{Ec2, Reply, Sent};
use crate::xml;

fn now() -> Timestamp {
    "2026-11-23T12:00:00Z".parse().unwrap()
}

/// One worker type of a burstable type under a dollar limit, with a profile and a highest price.
fn settings() -> Arc<Settings> {
    let text = "[provisioner]\nkey-name = 'k'\n[limits]\nmax-usd-per-hour = 1.0\n\
                [worker-types.linux]\nimage-id = 'ami-1'\ninstance-types = ['t3.large']\n\
                max-instances = 1\nmax-price = 0.05\niam-instance-profile = 'workers'\n";
    Arc::new(config::parse(text, Path::new("/")).unwrap().settings)
}

const IMAGE: &str = "<imagesSet><item><imageId>ami-1</imageId><imageState>available</imageState>\
     <architecture>x86_64</architecture><platform>windows</platform>\
     <platformDetails>Windows</platformDetails><imageAllowed>false</imageAllowed>\
     <blockDeviceMapping><item><deviceName>/dev/sdb</deviceName><ebs>\
     <deleteOnTermination>false</deleteOnTermination></ebs></item></blockDeviceMapping>\
     </item></imagesSet>";

/// An account whose settings are all in the way.
fn strict(sent: &Sent) -> Reply {
    let inside = match sent.action.as_str() {
        "GetInstanceMetadataDefaults" => {
            "<accountLevel><httpTokens>optional</httpTokens><httpPutResponseHopLimit>1\
             </httpPutResponseHopLimit><httpTokensEnforced>enabled</httpTokensEnforced></accountLevel>"
        }
        "GetAllowedImagesSettings" => "<state>audit-mode</state><imageCriterionSet/>",
        "GetDefaultCreditSpecification" => {
            assert_eq!(sent.get("InstanceFamily"), "t3");
            "<instanceFamilyCreditSpecification><instanceFamily>t3</instanceFamily><cpuCredits>\
             unlimited</cpuCredits></instanceFamilyCreditSpecification>"
        }
        "DescribeImages" => IMAGE,
        "DescribeKeyPairs" => {
            "<keySet><item><keyName>k</keyName><keyType>ed25519</keyType></item></keySet>"
        }
        "DescribeAvailabilityZones" => {
            "<availabilityZoneInfo><item><zoneName>us-west-2a</zoneName></item></availabilityZoneInfo>"
        }
        "DescribeInstanceTypes" => {
            "<instanceTypeSet><item><instanceType>t3.large</instanceType><vCpuInfo><defaultVCpus>2\
             </defaultVCpus></vCpuInfo></item></instanceTypeSet>"
        }
        "DescribeInstanceTypeOfferings" => {
            "<instanceTypeOfferingSet><item><instanceType>t3.large</instanceType><location>us-west-2a\
             </location></item></instanceTypeOfferingSet>"
        }
        "DescribeSpotPriceHistory" => {
            assert_eq!(sent.list("ProductDescription"), ["Windows", "Windows (Amazon VPC)"]);
            "<spotPriceHistorySet><item><instanceType>t3.large</instanceType><productDescription>Windows\
             </productDescription><spotPrice>0.07</spotPrice><availabilityZone>us-west-2a\
             </availabilityZone></item></spotPriceHistorySet>"
        }
        "GetRole" | "GetInstanceProfile" => return Reply::error(404, "NoSuchEntity"),
        _ => "",
    };
    Reply::ok(xml::answer(&sent.action, inside))
}

async fn report(ec2: &Ec2) -> PreflightReport {
    let settings = settings();
    let key_name = KeyName::from("k");
    let facts = Box::pin(ec2.client().preflight(&settings, &key_name, now())).await;
    assess(&settings, &facts, now())
}

/// The text of the finding about this, which must have this severity.
#[track_caller]
fn about<'r>(
    report: &'r PreflightReport,
    severity: Severity,
    kind: &str,
    subject: &str,
) -> &'r str {
    let is_it = |kind_found: String, subject_found: &str| {
        kind_found == kind && subject_found.contains(subject)
    };
    let mut findings = report.findings.iter();
    let found = findings.find(|it| is_it(it.kind.to_string(), &it.subject));
    let found = found.unwrap_or_else(|| panic!("nothing about {kind} {subject}: {report:#?}"));
    assert_eq!(found.severity, severity, "{found:?}");
    assert!(!found.fix.is_empty(), "{found:?}");
    &found.text
}

#[tokio::test]
async fn the_settings_of_the_account_are_read_and_told() {
    let ec2 = Ec2::new(strict);
    let report = report(&ec2).await;
    for (severity, kind, subject, word) in [
        (Severity::Error, "instance metadata", "HttpTokensEnforced", "every launch fails"),
        (Severity::Warning, "instance metadata", "HopLimit", "containers"),
        (Severity::Warning, "image", "ami-1", "audited"),
        (Severity::Note, "volume", "/dev/sdb", "outlive"),
        (Severity::Error, "price", "max-price", "0.07, of t3.large"),
        // Windows pays more for them: 2 vCPUs at 9.6 cents.
        (Severity::Warning, "credits", "t3.large", "0.192 USD"),
    ] {
        let text = about(&report, severity, kind, subject);
        assert!(text.contains(word), "{text}");
    }
    let ed25519 = report.findings.iter().find(|finding| finding.text.contains("ED25519"));
    assert!(ed25519.unwrap().fix.contains("--key-type rsa"));
    for sent in ec2.sent() {
        let changes_nothing = ["Describe", "Get"].iter().any(|verb| sent.action.starts_with(verb))
            || sent.get("DryRun") == "true";
        assert!(changes_nothing, "{sent:?}");
    }
}

#[tokio::test]
async fn settings_that_may_not_be_read_are_not_checkable() {
    let ec2 = Ec2::new(|sent| match sent.action.as_str() {
        action if action.starts_with("Get") => Reply::error(403, "UnauthorizedOperation"),
        _ => strict(sent),
    });
    let report = report(&ec2).await;
    about(&report, Severity::NotCheckable, "instance metadata", "");
    about(&report, Severity::NotCheckable, "image", "allowed images");
    about(&report, Severity::NotCheckable, "credits", "t3.large");
    assert!(
        report.checked.iter().all(|check| check.kind.to_string() != "credits"),
        "what is not known is not good: {report:#?}"
    );
}
