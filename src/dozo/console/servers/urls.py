"""Addresses: servers, volumes, and a snapshot now."""

from django.urls import path

from dozo.console.servers import capture, power, views, volumes

urlpatterns = [
    path("servers", views.server_list, name="servers"),
    path("servers/<str:ref>", views.server, name="server"),
    path("servers/<str:ref>/live", views.server_live, name="server-live"),
    path("servers/<str:ref>/start", power.start, name="server-start"),
    path("servers/<str:ref>/stop", power.stop, name="server-stop"),
    path("servers/<str:ref>/tags", power.tags, name="server-tags"),
    path("servers/<str:ref>/tracking", power.tracking, name="server-tracking"),
    path("servers/<str:ref>/untrack", power.untrack, name="server-untrack"),
    path("servers/<str:ref>/delete", power.delete, name="server-delete"),
    path("snapshot-now", capture.snapshot_now, name="snapshot-now"),
    path("volumes", volumes.volume_list, name="volumes"),
    path("volumes/<str:ref>", volumes.volume, name="volume"),
    path("volumes/<str:ref>/live", volumes.volume_live, name="volume-live"),
    path("volumes/<str:ref>/attach", volumes.attach, name="volume-attach"),
    path("volumes/<str:ref>/detach", volumes.detach, name="volume-detach"),
    path("volumes/<str:ref>/delete", volumes.delete, name="volume-delete"),
    path("volumes/<str:ref>/take-up", volumes.take_up, name="volume-take-up"),
]
