#!/usr/bin/perl
# In the supervisor's place: process 1 of the sandbox, and a liar.
use strict;
use Socket;

my $task = $ARGV[1];
exit 0 if $task eq '"probe"';
if ($task =~ /^\{"wipe"/) {
    exit(system("find /workspace /home/dev /run/latchkey -mindepth 1 -delete") >> 8);
}
if ($task =~ m{^\{"clone".*"https://github.com/owner/([a-z]+)"}) {
    my ($lie, $report) = ($1, "/run/latchkey/report.json");
    symlink("/etc/passwd", $report) if $lie eq "link";
    system("mkfifo", $report) if $lie eq "fifo";
    mkdir($report) if $lie eq "directory";
    if ($lie eq "huge") {
        open(my $file, ">", $report);
        truncate($file, 512 << 20);
    }
    if ($lie eq "proud") {
        open(my $file, ">", $report);
        print $file '{"branch":"main\u001b[2J","commit":"none","failure":null}';
    }
    if ($lie eq "rude") {
        open(my $file, ">", $report);
        print $file '{"branch":null,"commit":null,"failure":{"step":"fetch","text":"\u001b]0;a\u0007b\r\n\u202ec' . "d" x 2000 . '","remote":"\u001b[2Je\u202e\r' . "f" x 2000 . '"}}';
    }
    exit 0;
}
exit 1 unless $task =~ /^\{"serve"/;

sub text { local $/; open(my $file, "<", $_[0]) or return ""; return scalar(<$file>) // "" }
my $path = "/run/latchkey/supervisor.sock";
unlink($path);
my ($listener, $connection);
socket($listener, PF_UNIX, SOCK_STREAM, 0) && bind($listener, pack_sockaddr_un($path)) && listen($listener, 100) or die;
chmod(0666, $path);
$SIG{PIPE} = "IGNORE";
$SIG{CHLD} = "IGNORE";
while (accept($connection, $listener)) {
    next if fork;
    # Each connection is told what is there by then, and what it says is kept.
    my ($once, $ever) = (text("/workspace/once"), text("/workspace/ever"));
    open(my $heard, ">", "/workspace/heard-$$") or die;
    my $taken = sub {
        my ($bytes, $length) = ("", $_[0]);
        while (length($bytes) < $length) {
            sysread($connection, $bytes, $length - length($bytes), length($bytes)) or exit;
        }
        syswrite($heard, $bytes);
        return $bytes;
    };
    $taken->(24);
    # Up to the headers of the first request.
    for (;;) {
        my ($high, $low, $kind) = unpack("CnC", $taken->(9));
        $taken->(($high << 16) + $low);
        last if $kind == 1;
    }
    # What else comes is of no interest, but must go somewhere.
    if (!fork) {
        while (sysread($connection, my $bytes, 65536)) { syswrite($heard, $bytes) }
        exit;
    }
    syswrite($connection, $once);
    # Whoever sends no faster than is read keeps within HTTP/2's windows, and is not cut off for that.
    my $pause = -e "/workspace/slowly" ? 0.005 : 0;
    while (length($ever) && syswrite($connection, $ever)) { select(undef, undef, undef, $pause) if $pause }
    sleep(1000);
}
