//! The adapter over both worlds, for everything that a configuration names: images, instance types and their
//! zones, key pairs.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

use jiff::Timestamp;
use provisioner::internal::aws::Client;
use provisioner::internal::aws::preflight::{DryRunAnswer, ImageFacts, PreflightFacts};
use provisioner::internal::cleanup::{self, CleanupOptions, CleanupPlan};
use provisioner::internal::config::edit::ConfigFile;
use provisioner::internal::domain::ids::KeyName;
use provisioner::internal::domain::observed::KeyPair;
use provisioner::internal::setup::{SetupOptions, setup};
use provisioner_sim::deployment::{self, settings, worker_type};

use super::TYPE;
use super::parsed::Both;

/// An OpenSSH public key.
const PUBLIC_KEY: &str = "ssh-ed25519 \
                          AAAAC3NzaC1lZDI1NTE5AAAAIG6g4HZE534B5JfXBXYADSyW+qee06XXOc0qfDpU7U4p tests";

#[tokio::test]
async fn what_a_configuration_names_is_looked_up_alike() {
    let both = Both::new();
    let mut facts = Vec::new();
    for (client, image) in [(&both.moto, both.image.as_str()), (&both.sim, deployment::IMAGE)] {
        let mut linux = worker_type(&[TYPE, "m5.nosuch"], 10);
        image.clone_into(&mut linux.image_id);
        let settings = Arc::new(settings([("linux", linux)]));
        let key = deployment::key();
        let looked_up = Box::pin(client.preflight(&settings, &key, Timestamp::now()));
        facts.push(looked_up.await);
    }
    let [moto, sim] = &facts[..] else { unreachable!("one of each") };
    assert_eq!(shown(moto), shown(sim));
    assert_eq!(moto.instance_types.as_ref().unwrap().len(), 1, "one exists");
}

/// Shows the facts without their ids, and without those of IAM, which is not simulated.
fn shown(facts: &PreflightFacts) -> String {
    let images: Vec<ImageFacts> = facts.images.as_ref().unwrap().values().cloned().collect();
    // moto does not say whether an image knows the adapter, and the images' volumes are not the same.
    let alike = |image| ImageFacts {
        ena: None,
        lasting_devices: Vec::new(),
        // The simulated EC2 has no settings of accounts.
        allowed: None,
        ..image
    };
    let images: Vec<ImageFacts> = images.into_iter().map(alike).collect();
    let pools: BTreeSet<_> =
        facts.prices.values().flat_map(|prices| prices.as_ref().unwrap().keys()).collect();
    // EC2 does not document whether a dry run checks unknown ids first, so the two may differ in that.
    let calls: Vec<_> = facts.calls.iter().map(|call| (call.operation, call.target)).collect();
    let launches = facts.worker_types.values().flat_map(|worker_type| &worker_type.launches);
    let launches: Vec<_> = launches
        .map(|(place, answer)| (&place.instance_type, &place.placement.zone, said(answer)))
        .collect();
    let PreflightFacts { region, key_pair, listing, zones, instance_types, offerings, .. } = facts;
    let there = facts.default_vpc.as_ref().map(|vpc| vpc.as_ref().map(Option::is_some));
    format!(
        "{region} {key_pair:?} {listing:?} {zones:#?} {there:?} {instance_types:#?} {offerings:#?} \
         {images:#?} {pools:#?} {calls:#?} {launches:#?}"
    )
}

/// An answer with its code, without EC2's words.
fn said(answer: &DryRunAnswer) -> String {
    match answer {
        DryRunAnswer::Refused(refusal) => format!("{:?} {}", refusal.class, refusal.code),
        other => format!("{other:?}"),
    }
}

#[tokio::test]
async fn key_pairs_are_made_given_and_deleted_alike() {
    let both = Both::new();
    for public_key in [None, Some(PUBLIC_KEY)] {
        let mut lives = Vec::new();
        for client in [&both.moto, &both.sim] {
            lives.push(life(client, public_key).await);
        }
        assert_eq!(lives[0], lives[1], "with {public_key:?}");
    }
}

/// Returns a key pair at each step of its life.
async fn life(client: &Client, public_key: Option<&str>) -> Vec<String> {
    let dir = tempfile::tempdir().unwrap();
    let state_dir = Some(dir.path().join("state"));
    let file = || ConfigFile::open(&dir.path().join("provisioner.toml")).unwrap();
    let public_key = public_key.map(|key| {
        let path = dir.path().join("key.pub");
        std::fs::write(&path, key).unwrap();
        path
    });
    let options = SetupOptions { public_key, state_dir: state_dir.clone(), ..Default::default() };
    let report = setup(client, file(), &options).await.unwrap();
    let mut steps = vec![format!("{:?}", whose(client, &report.key_name).await)];
    steps.push(format!("a private key: {:?}", report.private_key.as_deref().map(is_private)));
    let targets = cleanup::targets(&file().saved().unwrap(), &[], client.region()).unwrap();
    let plan = CleanupPlan::make(client, targets).await.unwrap();
    steps.push(format!("{:?}", plan.key_names[0].key_pair));
    let options =
        CleanupOptions { yes: true, state_dir, pauses: Vec::new(), ..CleanupOptions::default() };
    let removed = cleanup::execute(client, plan, file(), &options, &mut |_| {}).await.unwrap();
    steps.push(format!("{:?} {}", removed.outcome, removed.key_names[0].deleted.len()));
    steps.push(format!("{:?}", whose(client, &report.key_name).await));
    steps
}

async fn whose(client: &Client, key_name: &KeyName) -> KeyPair {
    let look = client.observe(key_name, &BTreeSet::new(), true, Timestamp::now()).await;
    look.unwrap().observation.key_pair
}

fn is_private(path: &Path) -> bool {
    std::fs::read_to_string(path).unwrap().contains("PRIVATE KEY")
}
