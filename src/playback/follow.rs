//! Listening to a call while it goes on.
//!
//! # Promise
//! Every whole chunk comes out soon after it was sealed, and the rest when the recording is finished: the bytes are those of
//! the finished recording, from its beginning, each once. A recording that was taken back ends the stream with an error.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use bytes::Bytes;
use futures::{Stream, StreamExt};
use tokio::sync::watch;

use super::{Content, Cut, Located, Playback, Session, interrupted};
use crate::model::range::ByteRange;
use crate::model::{Problem, Result};
use crate::reading::ReadError;
use crate::reading::live::Reach;

/// One listener of a call that goes on.
struct Follower {
    playback: Playback,
    located: Located,
    session: Session,
    reach: Option<watch::Receiver<Reach>>,
    offset: u64,
    is_over: bool,
}

/// What comes next.
enum Step {
    Bytes(Vec<Bytes>),
    Wait,
    End,
}

impl Playback {
    /// All of a recording that is arriving: what there is, and what comes until it ends.
    pub fn follow(
        &self,
        located: Located,
        session: Session,
    ) -> impl Stream<Item = std::result::Result<Bytes, Cut>> + Send + use<> {
        let reach = self.live.follow(located.recording.id);
        let follower = Follower { playback: self.clone(), located, session, reach, offset: 0, is_over: false };
        let windows = futures::stream::try_unfold(follower, |mut follower| async move {
            loop {
                match follower.next().await? {
                    Step::Bytes(pieces) => {
                        let pieces: Vec<std::result::Result<Bytes, Cut>> = pieces.into_iter().map(Ok).collect();
                        return Ok(Some((futures::stream::iter(pieces), follower)));
                    }
                    Step::Wait => follower.wait().await,
                    Step::End => return Ok(None),
                }
            }
        });
        windows.flat_map(|window: std::result::Result<_, Cut>| match window {
            Ok(pieces) => pieces.left_stream(),
            Err(cut) => futures::stream::iter([Err(cut)]).right_stream(),
        })
    }
}

impl Follower {
    async fn next(&mut self) -> std::result::Result<Step, Cut> {
        let len = self.session.plain_len();
        let Some(range) = ByteRange::new(self.offset, len.saturating_sub(1), len) else {
            return match self.session.content {
                Content::Arriving(_) => Ok(Step::Wait),
                Content::Finished(_) => Ok(Step::End),
                Content::Gone => Err(Cut::Read(interrupted())),
            };
        };
        let window = match self.session.content.window(self.offset, range).await {
            // Its segment went away because the recording was finished.
            Err(ReadError::Unavailable(_)) if self.session.is_arriving() && !self.is_over => return Ok(Step::Wait),
            window => window,
        };
        let watch = self.playback.watch(&self.session);
        let passed = window.map(|pieces| pieces.into_iter().map(|piece| watch.pass(Ok(piece))).collect());
        let passed: std::result::Result<Vec<Bytes>, Cut> = match passed {
            Ok(passed) => passed,
            Err(error) => Err(watch.pass(Err(error)).err().unwrap_or(Cut::Ended)),
        };
        let pieces = passed?;
        self.offset += pieces.iter().map(|piece| piece.len() as u64).sum::<u64>();
        Ok(Step::Bytes(pieces))
    }

    /// Until there is more, or the end is known; then the session is opened anew on what there is.
    async fn wait(&mut self) {
        let known = self.session.plain_len();
        let reach = match &mut self.reach {
            Some(reach) => reach.wait_for(|reach| reach.len > known || reach.is_over).await.ok().map(|r| r.clone()),
            None => None,
        };
        let opened = match reach {
            Some(reach) if !reach.is_over => self.open_arriving(&reach),
            _ => {
                self.is_over = true;
                self.open_finished().await
            }
        };
        if let Err(error) = opened {
            // The next look tells the listener why.
            tracing::debug!(problem = error.problem.name(), "a call that was followed cannot be read on");
            self.is_over = true;
            self.session.content = Content::Gone;
        }
    }

    fn open_arriving(&mut self, reach: &Reach) -> Result<()> {
        let recording = &self.located.recording;
        let arriving = self
            .playback
            .reader
            .data_key(recording, self.session.class)
            .and_then(|data_key| self.playback.reader.arriving(recording, &data_key, reach));
        match arriving {
            Ok(arriving) => {
                self.session.content = Content::Arriving(Arc::new(arriving));
                Ok(())
            }
            Err(error) => Err(self.playback.not_opened(recording.id, error)),
        }
    }

    async fn open_finished(&mut self) -> Result<()> {
        let recording = &self.located.recording;
        let located = self.playback.locate(recording.tenant, recording.id).await?;
        if located.recording.plain_len.is_none() {
            // It waits for its sender, or for recovery: this listener has all that there is.
            return Err(crate::model::Error::new(Problem::StillReceiving, "the upload was interrupted"));
        }
        let session = self.playback.open(&located, self.session.class).await?;
        self.playback.stats.sessions.fetch_sub(1, Relaxed);
        self.session.content = session.content;
        self.located = located;
        Ok(())
    }
}
