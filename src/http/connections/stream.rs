//! The stream of a connection that was taken in.

use std::{
    future::Future,
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    time::{Instant, Sleep},
};
use tokio_util::sync::WaitForCancellationFutureOwned;

use super::{Admitted, Place};

/// A stream that notes when bytes move. It fails once its place is given to another, and once nothing was written to it for
/// too long, whatever arrives.
pub struct Tracked<T> {
    stream: T,
    admitted: Admitted,
    closing: Pin<Box<WaitForCancellationFutureOwned>>,
    silence_max: Duration,
    written: Instant,
    look: Pin<Box<Sleep>>,
}

impl<T> Tracked<T> {
    pub(super) fn new(stream: T, admitted: Admitted, silence_max: Duration) -> Self {
        let closing = Box::pin(admitted.0.connection.closing.clone().cancelled_owned());
        let written = Instant::now();
        let look = Box::pin(tokio::time::sleep_until(written + silence_max));
        Self { stream, admitted, closing, silence_max, written, look }
    }

    /// What is known of the connection, for its requests.
    pub fn place(&self) -> &Arc<Place> {
        &self.admitted.0
    }

    /// Fails when the connection has to end, and sees to it that the task looks again when that may be.
    fn poll_end(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        if self.closing.as_mut().poll(cx).is_ready() {
            return Err(io::Error::new(
                io::ErrorKind::ConnectionAborted,
                "another connection needed the place",
            ));
        }
        while self.look.as_mut().poll(cx).is_ready() {
            let end = self.written + self.silence_max;
            if end <= Instant::now() {
                return Err(io::Error::new(io::ErrorKind::TimedOut, "nothing was answered for too long"));
            }
            // Moved only now, and not with every write.
            self.look.as_mut().reset(end);
        }
        Ok(())
    }

    fn note(&mut self, written: &Poll<io::Result<usize>>) {
        if matches!(written, Poll::Ready(Ok(1..))) {
            self.written = Instant::now();
            self.place().moved();
        }
        self.place().written();
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for Tracked<T> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.poll_end(cx)?;
        let (before, room) = (buffer.filled().len(), buffer.remaining());
        let read = Pin::new(&mut self.stream).poll_read(cx, buffer);
        if matches!(read, Poll::Ready(Ok(()))) {
            if buffer.filled().len() > before {
                self.place().came();
            } else if room > 0 {
                self.place().connection.hung_up.cancel();
            }
        }
        read
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for Tracked<T> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.poll_end(cx)?;
        let written = Pin::new(&mut self.stream).poll_write(cx, bytes);
        self.note(&written);
        written
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.poll_end(cx)?;
        let written = Pin::new(&mut self.stream).poll_write_vectored(cx, bytes);
        self.note(&written);
        written
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::Ordering;

    use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};

    use super::{
        super::{
            Proof,
            tests::{admit, connections, peer},
        },
        *,
    };

    /// Longer than a test takes.
    const LONG: Duration = Duration::from_secs(3_600);

    fn tracked(silence_max: Duration) -> (DuplexStream, Tracked<DuplexStream>) {
        let (client, stream) = tokio::io::duplex(64);
        (client, admit(&connections(1, 1), peer(1)).track(stream, silence_max))
    }

    #[tokio::test]
    async fn a_connection_ends_when_its_place_is_given_away() {
        let (mut client, mut stream) = tracked(LONG);
        let place = stream.place().clone();
        client.write_all(b"a").await.unwrap();
        assert_eq!(stream.read_u8().await.unwrap(), b'a');
        assert_eq!(place.connection.asks(), Proof::None);
        place.prove(Proof::Caller);
        assert_eq!(place.connection.asks(), Proof::Caller);
        place.answer_made();
        assert_eq!(place.connection.asks(), Proof::None);
        assert_eq!(place.connection.leaves.load(Ordering::Relaxed), Proof::Caller as u8);
        stream.write_all(b"b").await.unwrap();
        assert_eq!(place.connection.leaves.load(Ordering::Relaxed), Proof::None as u8);
        let reading = tokio::spawn(async move { stream.read_u8().await.unwrap_err().kind() });
        let _newcomer = admit(&place.connections, peer(1));
        assert_eq!(reading.await.unwrap(), io::ErrorKind::ConnectionAborted);
        assert!(!place.connection.hung_up.is_cancelled());
    }

    #[tokio::test]
    async fn it_is_known_when_a_client_hangs_up() {
        let (client, mut stream) = tracked(LONG);
        drop(client);
        assert!(stream.read_u8().await.is_err());
        assert!(stream.place().connection.hung_up.is_cancelled());
    }

    /// A byte now and then kept a connection for ever: as the head of a second request, or in chunks behind an answer.
    #[tokio::test]
    async fn a_stream_to_which_nothing_is_written_ends_whatever_arrives() {
        let (mut client, mut stream) = tracked(Duration::from_millis(50));
        let dripping = tokio::spawn(async move { while client.write_all(b"a").await.is_ok() {} });
        let error = loop {
            if let Err(error) = stream.read_u8().await {
                break error;
            }
        };
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        assert_eq!(stream.write(b"a").await.unwrap_err().kind(), io::ErrorKind::TimedOut);
        drop(stream);
        dripping.await.unwrap();
    }

    #[tokio::test]
    async fn a_stream_that_is_written_to_goes_on() {
        let (mut client, mut stream) = tracked(LONG);
        let begun = stream.written;
        stream.write_all(b"a").await.unwrap();
        assert_eq!(client.read_u8().await.unwrap(), b'a');
        assert!(stream.written > begun);
        // The look that was planned at the beginning finds that there is time left.
        stream.look.as_mut().reset(begun - Duration::from_secs(1));
        client.write_all(b"b").await.unwrap();
        assert_eq!(stream.read_u8().await.unwrap(), b'b');
        assert_eq!(stream.look.deadline(), stream.written + stream.silence_max);
    }
}
