//! The word that ends everything.

use tokio::sync::watch;

/// Tells every [`Stop`] of one sandbox to stop; dropping it does, too.
#[derive(Debug)]
pub(crate) struct Stopper(watch::Sender<bool>);

/// Learns when to stop.
#[derive(Debug, Clone)]
pub(crate) struct Stop(watch::Receiver<bool>);

impl Stopper {
    pub(crate) fn new() -> (Self, Stop) {
        let (sender, receiver) = watch::channel(false);
        (Self(sender), Stop(receiver))
    }

    pub(crate) fn stop(&self) {
        let _ = self.0.send(true);
    }
}

impl Stop {
    /// Returns once the word was given.
    pub(crate) async fn wait(&mut self) {
        // An error means that the stopper is gone, which is the same word.
        let _ = self.0.wait_for(|stop| *stop).await;
    }
}
