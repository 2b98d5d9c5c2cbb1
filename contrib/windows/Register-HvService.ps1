# SPDX-License-Identifier: Apache-2.0
#Requires -Version 5.1

<#
.SYNOPSIS
Lets virtual machines use a Hyper-V socket service of this host, or lists, removes and switches services.

.DESCRIPTION
What "hvrun-hv register" does, for hosts where nothing may be installed, and what only WMI can do: to
enable and disable a registered service for one virtual machine or for all of them.

Keys that others have registered are neither changed nor removed. Registering the same again is no error.

.PARAMETER Name
The service's name for people: ElementName.

.PARAMETER ServiceId
The service's GUID, or a vsock port, which stands for 00000000-facb-11e6-bd58-64006a7986d3 with the port
in its first group. Without it Register makes a new one.

.PARAMETER State
Enabled, Disabled, or Default: whatever the virtual machine's guest service interface says.

.PARAMETER VMName
Of one virtual machine; without it, all.

.EXAMPLE
.\Register-HvService.ps1 -Name "HV Socket Demo" | clip.exe
Registers a new service and copies its GUID.

.EXAMPLE
.\Register-HvService.ps1 -Name hvrun -ServiceId 5000
.\Register-HvService.ps1 -List
.\Register-HvService.ps1 -Unregister -ServiceId 5000

.EXAMPLE
.\Register-HvService.ps1 -State Disabled -ServiceId 5000 -VMName web
.\Register-HvService.ps1 -ListStates

.EXAMPLE
.\Register-HvService.ps1 -Export services.reg
#>

[CmdletBinding(DefaultParameterSetName = 'List', SupportsShouldProcess = $true)]
param(
	[Parameter(Mandatory = $true, ParameterSetName = 'Register')]
	[ValidateLength(1, 255)]
	[string] $Name,

	[Parameter(ParameterSetName = 'Register')]
	[Parameter(Mandatory = $true, ParameterSetName = 'Unregister')]
	[Parameter(Mandatory = $true, ParameterSetName = 'State')]
	[Parameter(ParameterSetName = 'ListStates')]
	[string] $ServiceId,

	[Parameter(ParameterSetName = 'List')]
	[switch] $List,

	[Parameter(Mandatory = $true, ParameterSetName = 'Unregister')]
	[switch] $Unregister,

	[Parameter(Mandatory = $true, ParameterSetName = 'Export')]
	[string] $Export,

	[Parameter(Mandatory = $true, ParameterSetName = 'State')]
	[ValidateSet('Enabled', 'Disabled', 'Default')]
	[string] $State,

	[Parameter(Mandatory = $true, ParameterSetName = 'ListStates')]
	[switch] $ListStates,

	[Parameter(ParameterSetName = 'State')]
	[Parameter(ParameterSetName = 'ListStates')]
	[string] $VMName
)

Set-StrictMode -Version 3.0
$ErrorActionPreference = 'Stop'

$Branch = 'SOFTWARE\Microsoft\Windows NT\CurrentVersion\Virtualization\GuestCommunicationServices'
$Tag = 'RegisteredBy'
$TagText = 'hvrun'
$Namespace = 'root\virtualization\v2'
$Policies = @{ Enabled = 2; Disabled = 3; Default = 8 }

# Windows' own.
$BuiltIn = @(
	'999e53d4-3d5c-4c3e-8779-bed06ec056e1', 'a5201c21-2770-4c11-a68e-f182edb29220',
	'acef5661-84a1-4e44-856b-6245e69f4620', 'ae8da506-a019-4553-a52b-902bc0fa0411',
	'172dad59-976d-45f2-8b6c-6d1b13f2ac4d'
)
# VmIds, which are no services.
$VmIds = @(
	'00000000-0000-0000-0000-000000000000', 'ffffffff-ffff-ffff-ffff-ffffffffffff',
	'90db8b89-0d35-4f79-8ce9-49ea0ac8b7cd', 'e0e16197-dd56-4a10-9195-5ee7a155a838',
	'a42e7cda-d03f-480c-9cc2-a4de20abb878', '36bd0c5c-7276-4223-88ba-7d03b654c568'
)

function Get-ServiceGuid([string] $Text) {
	$guid = [Guid]::Empty
	$port = [uint32] 0
	if ([Guid]::TryParse($Text, [ref] $guid)) {
		return $guid
	}
	if ([uint32]::TryParse($Text, [ref] $port) -and $port -ne [uint32]::MaxValue) {
		return [Guid] ('{0:x8}-facb-11e6-bd58-64006a7986d3' -f $port)
	}
	throw "`"$Text`" is neither a GUID nor a port."
}

function Assert-Own([Guid] $Guid) {
	if ($BuiltIn -contains $Guid.ToString()) {
		throw "$Guid is Windows' own service."
	}
	if ($VmIds -contains $Guid.ToString()) {
		throw "$Guid is a VmId, not a service."
	}
}

function Assert-Administrator {
	$identity = [Security.Principal.WindowsIdentity]::GetCurrent()
	$role = [Security.Principal.WindowsBuiltInRole]::Administrator
	if (-not ([Security.Principal.WindowsPrincipal] $identity).IsInRole($role)) {
		throw 'Only an administrator may change the services of this host: use a shell that was ' +
			'started with "Run as administrator".'
	}
}

# The 64-bit view, also from a 32-bit shell.
function Open-Branch([bool] $Writable) {
	$machine = [Microsoft.Win32.RegistryKey]::OpenBaseKey('LocalMachine', 'Registry64')
	if ($Writable) {
		return $machine.CreateSubKey($Branch)
	}
	return $machine.OpenSubKey($Branch)
}

function Get-HvService {
	$services = Open-Branch $false
	if ($null -eq $services) {
		return
	}
	foreach ($key in $services.GetSubKeyNames()) {
		$guid = [Guid]::Empty
		if (-not [Guid]::TryParse($key, [ref] $guid)) {
			continue
		}
		$service = $services.OpenSubKey($key)
		[pscustomobject] @{
			ServiceId = $guid
			Name = $service.GetValue('ElementName')
			Ours = $service.GetValue($Tag) -ceq $TagText
			Key = $key
		}
	}
}

function Find-HvService([Guid] $Guid) {
	return Get-HvService | Where-Object { $_.ServiceId -eq $Guid } | Select-Object -First 1
}

function Register-HvService {
	$guid = if ($ServiceId) { Get-ServiceGuid $ServiceId } else { [Guid]::NewGuid() }
	Assert-Own $guid
	$there = Find-HvService $guid
	if ($there -and $there.Name -cne $Name -and -not $there.Ours) {
		throw "$guid is somebody else's already: `"$($there.Name)`"."
	}
	if (-not $there -or $there.Name -cne $Name) {
		Assert-Administrator
		if ($PSCmdlet.ShouldProcess("$guid", 'Register')) {
			$key = (Open-Branch $true).CreateSubKey($guid.ToString().ToUpperInvariant())
			$key.SetValue($Tag, $TagText, 'String')
			$key.SetValue('ElementName', $Name, 'String')
		}
	}
	$guid.ToString()
}

function Unregister-HvService {
	$guid = Get-ServiceGuid $ServiceId
	Assert-Own $guid
	$there = Find-HvService $guid
	if (-not $there) {
		throw "$guid is not registered."
	}
	if (-not $there.Ours) {
		throw "$guid was registered by somebody else: `"$($there.Name)`"."
	}
	Assert-Administrator
	if ($PSCmdlet.ShouldProcess("$guid", 'Unregister')) {
		(Open-Branch $true).DeleteSubKey($there.Key)
	}
}

# Registry Editor's form; PowerShell's "Unicode" is UTF-16 with a mark.
function Export-HvService {
	$lines = @('Windows Registry Editor Version 5.00', '')
	foreach ($service in Get-HvService) {
		$lines += "[HKEY_LOCAL_MACHINE\$Branch\$($service.Key)]"
		if ($service.Name) {
			$lines += '"ElementName"="{0}"' -f ($service.Name -replace '(["\\])', '\$1')
		}
		if ($service.Ours) {
			$lines += '"{0}"="{1}"' -f $Tag, $TagText
		}
		$lines += ''
	}
	Set-Content -Path $Export -Value $lines -Encoding Unicode
}

# The settings of each service in each virtual machine. They hang off the settings of the machine's
# guest service interface, and carry the id of the machine in their own.
function Get-Setting {
	$machines = Get-CimInstance -Namespace $Namespace -ClassName Msvm_ComputerSystem |
		Where-Object { $_.Caption -ne 'Hosting Computer System' -and $_.Name -as [Guid] }
	if ($VMName) {
		$machines = @($machines | Where-Object { $_.ElementName -eq $VMName })
		if (-not $machines) {
			throw "There is no virtual machine `"$VMName`"."
		}
	}
	$wanted = if ($ServiceId) { Get-ServiceGuid $ServiceId }
	$settings = Get-CimInstance -Namespace $Namespace -ClassName Msvm_GuestCommunicationServiceSettingData
	foreach ($setting in $settings) {
		$guid = $setting.Name -as [Guid]
		$machine = $machines | Where-Object { $setting.InstanceID -like "*$($_.Name)*" } |
			Select-Object -First 1
		if ($machine -and $guid -and (-not $wanted -or $guid -eq $wanted)) {
			[pscustomobject] @{
				VMName = $machine.ElementName
				ServiceId = $guid
				State = ($Policies.GetEnumerator() |
					Where-Object { $_.Value -eq $setting.EnabledStatePolicy }).Key
				Setting = $setting
			}
		}
	}
}

function Wait-Change($Result) {
	if ($Result.ReturnValue -eq 0) {
		return
	}
	if ($Result.ReturnValue -ne 4096) {
		throw "Hyper-V refused the change with $($Result.ReturnValue)."
	}
	do {
		Start-Sleep -Milliseconds 100
		$job = Get-CimInstance -InputObject $Result.Job
	} while ($job.JobState -in 2, 3, 4)
	if ($job.JobState -ne 7) {
		throw "Hyper-V could not change the state: $($job.ErrorDescription)"
	}
}

function Set-State {
	Assert-Administrator
	$settings = @(Get-Setting)
	if (-not $settings) {
		throw "No virtual machine knows the service. Is it registered, and was the machine started since?"
	}
	$management = Get-CimInstance -Namespace $Namespace -ClassName Msvm_VirtualSystemManagementService
	$serializer = [Microsoft.Management.Infrastructure.Serialization.CimSerializer]::Create()
	foreach ($one in $settings) {
		if (-not $PSCmdlet.ShouldProcess("$($one.ServiceId) of $($one.VMName)", $State)) {
			continue
		}
		$one.Setting.EnabledStatePolicy = [uint16] $Policies[$State]
		$bytes = $serializer.Serialize($one.Setting, 'None')
		$arguments = @{ GuestServiceSettings = @([Text.Encoding]::Unicode.GetString($bytes)) }
		Wait-Change (Invoke-CimMethod -InputObject $management -MethodName ModifyGuestServiceSettings `
			-Arguments $arguments)
	}
}

switch ($PSCmdlet.ParameterSetName) {
	'Register' { Register-HvService }
	'Unregister' { Unregister-HvService }
	'Export' { Export-HvService }
	'State' { Set-State }
	'ListStates' { Get-Setting | Select-Object VMName, ServiceId, State }
	default {
		Get-HvService | Select-Object ServiceId, Name, @{
			Name = 'By'
			Expression = { if ($_.Ours) { $TagText } elseif ($BuiltIn -contains "$($_.ServiceId)") { 'Windows' } }
		}
	}
}
