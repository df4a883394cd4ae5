//! The flows in which messages are due, and what is taken from them.

use textledger::{
    domain::{Flow, MessageId, Organization, UnixMs},
    store::Store,
};

/// Claims messages of `flow`, of which every id can be read.
pub async fn claim(
    store: &dyn Store,
    organization: &Organization,
    flow: &Flow,
    now: UnixMs,
    until: UnixMs,
    limit: usize,
) -> Vec<MessageId> {
    let claimed = store.claim_outbounds(organization, flow, now, until, limit).await.unwrap();
    claimed.into_iter().collect::<Result<_, _>>().unwrap()
}

/// All of them, page by page: the urgent ones first, and of several partitions each once.
pub async fn due_flows(store: &dyn Store, organization: &Organization, now: UnixMs) -> Vec<Flow> {
    let mut flows = Vec::new();
    for urgent in [true, false] {
        let (mut found, mut skip) = (Vec::new(), Some(0));
        while let Some(from) = skip {
            let page = store.due_flows(organization, now, urgent, from).await.unwrap();
            found.extend(page.flows);
            skip = page.next;
        }
        found.sort_unstable();
        found.dedup();
        flows.extend(found);
    }
    flows
}
