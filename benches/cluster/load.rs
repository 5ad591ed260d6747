//! The load: so many requests of each kind in a second, whatever becomes of those before.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};

use super::wire::World;

/// What is under way of one kind at once; beyond that a request is put off.
const UNDER_WAY_MAX: usize = 300;

type Client = fn(Arc<World>) -> Pin<Box<dyn Future<Output = ()> + Send>>;

/// How often a second each client comes.
const CLIENTS: [(f64, Client); 8] = [
    (1.5, |world| Box::pin(async move { world.send_call().await })),
    (1.5, |world| Box::pin(async move { world.send_bulk().await })),
    (0.7, |world| Box::pin(async move { world.send_in_pieces().await })),
    (8.0, |world| Box::pin(async move { world.listen().await })),
    (3.0, |world| Box::pin(async move { world.list().await })),
    (0.3, |world| Box::pin(async move { world.erase().await })),
    (0.3, |world| Box::pin(async move { world.send_again().await })),
    (1.0, |world| Box::pin(async move { world.disturb_the_dead().await })),
];

/// Each task ends when its last client has; it tells how many were put off.
pub fn start(world: &Arc<World>, factor: f64) -> JoinSet<usize> {
    CLIENTS.into_iter().map(|(per_second, client)| come(world.clone(), per_second * factor, client)).collect()
}

async fn come(world: Arc<World>, per_second: f64, client: Client) -> usize {
    let (mut under_way, mut put_off) = (JoinSet::new(), 0);
    let mut next_at = Instant::now();
    loop {
        // Spread around the mean, so that no two kinds march in step.
        next_at += Duration::from_secs_f64(world.between(500, 1_500) as f64 / 1e3 / per_second);
        sleep_until(next_at).await;
        if world.is_over() {
            break;
        }
        while under_way.try_join_next().is_some() {}
        if under_way.len() < UNDER_WAY_MAX {
            under_way.spawn(client(world.clone()));
        } else {
            put_off += 1;
        }
    }
    under_way.join_all().await;
    put_off
}
